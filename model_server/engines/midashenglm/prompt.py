"""What the model reads around the audio: ChatML, in token ids.

Text that somebody wrote never becomes a special token: it is encoded by a tokenizer
that knows none of them, so `<|im_end|>` in a question is ten plain characters.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from model_server.engines import prompts

if TYPE_CHECKING:
    from .checkpoint import SpecialTokens


@dataclass(frozen=True)
class Prompt:
    """Token ids before and after the audio's embeddings."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class Prompts:
    """Writes prompts for one checkpoint."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        tokens: SpecialTokens,
        *,
        audio_first: bool = True,
        system: str | None = None,
    ) -> None:
        """Audio before the instruction, or after it; `system` comes before both."""
        self._tokenizer = tokenizer
        self._plain = _without_added_tokens(tokenizer)
        self._tokens = tokens
        self._audio_first = audio_first
        start, end = tokens.im_start, tokens.im_end
        self._head: list[int] = []
        if system:
            self._head = [start, *self.encode(f"system\n{system}"), end]
            self._head += self.encode("\n")
        self._head.append(start)
        self._tail = [end, *self.encode("\n"), start, *self.encode("assistant\n")]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; nothing in it is a special token."""
        # JSON can hold half a character, which nothing can encode.
        whole = text.encode("utf-8", "replace").decode()
        return list(self._plain.encode(whole, add_special_tokens=False).ids)

    def instruction(self, text: str) -> Prompt:
        """A user's turn of a clip and a text, and the beginning of the answer."""
        return self._around(self.encode(text), text)

    def transcription(self, language: str) -> Prompt:
        """Ask for the words of a language of SPEECH_LANGUAGES.

        Its tag is one token where the checkpoint has such a token, else plain text.
        """
        text = prompts.transcribe(language)
        tag = f"<|{language}|>"
        known = self._tokenizer.token_to_id(tag)
        if known is None:
            return self.instruction(text)
        words = text.removesuffix(tag)
        return self._around([*self.encode(words), known], words, [known])

    def _around(
        self, ids: list[int], text: str, tag: list[int] | None = None
    ) -> Prompt:
        tokens = self._tokens
        if self._audio_first:
            return Prompt(
                (*self._head, *self.encode("user\n"), tokens.audio_bos),
                (tokens.audio_eos, *ids, *self._tail),
            )
        asked = [*self.encode(f"user\n{text}"), *(tag or ())]
        return Prompt(
            (*self._head, *asked, tokens.audio_bos), (tokens.audio_eos, *self._tail)
        )


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary and merges, without tokens that are found as whole words."""
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(written))
