"""Moonshine, a small network that writes down speech: run step by step, and no more.

The package moonshine-voice brings the weights of its English model (MIT licence); its
code is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm

FIRST, LAST = 1, 2
"""The tokens that begin and end a text."""

_HEADS, _SIZE = 8, 36
_FRAME = 384
"""Samples of a piece of the memory."""
_EACH_S = 6.5
"""Tokens that can be said in a second, as its makers count: more are made up."""
_SPACE = "\u2581"
_PAST, _PRESENT, _OF_TEXT, _SCORES = "past_key_values", "present", ".decoder.", "logits"


def weights() -> Path | None:
    """Return the folder of the English model; None where it is not installed."""
    spec = find_spec("moonshine_voice")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "assets" / "tiny-en"
        if (folder / "decoder_model_merged.ort").exists():
            return folder
    return None


@cache
def load(folder: Path) -> Moonshine:
    """Load a model, once; a third of a second."""
    return Moonshine(folder)


class Moonshine:
    """The model: sound becomes a memory, and a memory the likelihood of each token."""

    def __init__(self, folder: Path) -> None:
        """Read the network and its tokens."""
        options = ort.SessionOptions()
        # A server hears several microphones, and one of them needs little.
        options.intra_op_num_threads = 1
        self._encoder = ort.InferenceSession(folder / "encoder_model.ort", options)
        self._decoder = ort.InferenceSession(
            folder / "decoder_model_merged.ort", options
        )
        self._names = [
            one.name for one in self._decoder.get_outputs() if one.name != _SCORES
        ]
        self.tokens = _read_tokens((folder / "tokenizer.bin").read_bytes())

    def listen(self, pcm: Pcm) -> Writing:
        """Hear an utterance, (samples,) at 16 kHz; return what may be written of it."""
        sound = (pcm.astype(np.float32) / np.float32(32768))[None]
        (memory,) = self._encoder.run(
            None,
            {
                "input_values": sound,
                "attention_mask": np.ones(sound.shape, np.int64),
            },
        )
        return Writing(self._decoder, self._names, memory)


class Writing:
    """Texts of one utterance that grow side by side."""

    def __init__(
        self,
        decoder: ort.InferenceSession,
        names: list[str],
        memory: npt.NDArray[np.float32],
    ) -> None:
        """Begin with one empty text."""
        self._decoder = decoder
        self._outputs = names
        self._memory = memory
        self.longest = round(_EACH_S * memory.shape[1] * _FRAME / SAMPLE_RATE)
        """Tokens that a text may have at most."""
        self.begin()

    def begin(self) -> None:
        """Begin anew, with one empty text."""
        nothing = np.zeros((1, _HEADS, 0, _SIZE), np.float32)
        names = (name.replace(_PRESENT, _PAST) for name in self._outputs)
        self._past = dict.fromkeys(names, nothing)
        self._begun = False

    def write(
        self, tokens: Sequence[int], after: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """Append a token to each text; the log likelihoods of the next, (texts, tokens).

        `after` tells which of the texts before each of them goes on.
        """
        # What it makes of the memory is made once, and is the same for all texts.
        past = {
            name: value[list(after)] if _OF_TEXT in name else value
            for name, value in self._past.items()
        }
        wanted = [one for one in self._outputs if _OF_TEXT in one or not self._begun]
        scores, *grown = self._decoder.run(
            [_SCORES, *wanted],
            {
                "input_ids": np.array(tokens, np.int64)[:, None],
                "encoder_hidden_states": self._memory,
                # One for each frame, or one for all: nothing is left out.
                "encoder_attention_mask": np.ones((len(tokens), 1), np.int64),
                "use_cache_branch": np.array([self._begun]),
                **past,
            },
        )
        names = (name.replace(_PRESENT, _PAST) for name in wanted)
        self._past = past | dict(zip(names, grown, strict=True))
        self._begun = True
        last = scores[:, -1] - scores[:, -1].max(-1, keepdims=True)
        likely: npt.NDArray[np.float32] = last - np.log(
            np.exp(last).sum(-1, keepdims=True)
        )
        return likely


def _read_tokens(content: bytes) -> tuple[str | None, ...]:
    """Read a list of texts, each after its length; None for a piece of a character.

    Lengths from 128 on take two bytes, of which the second counts 128s.
    """
    tokens: list[str | None] = []
    place = 0
    while place < len(content):
        length = content[place]
        place += 1
        if length >= 128:
            length += 128 * (content[place] - 1)
            place += 1
        try:
            text = content[place : place + length].decode()
        except UnicodeDecodeError:
            tokens.append(None)
        else:
            tokens.append(text.replace(_SPACE, " "))
        place += length
    return tuple(tokens)
