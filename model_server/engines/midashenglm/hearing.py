"""What the model's thread does: a clip and a prompt become tokens, many at a time.

A clip's place in the decoder is kept, as keys and values: whoever asks something else
about the same audio begins after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineError

from .clips import ChunkKey, Clip, Heard, Hearing
from .constraints import Mask
from .decoding import Decoder
from .model import MiDashengLM
from .prompt import Prompt
from .scheduler import LATER

ENCODED_BYTES: Final = 256 << 20
"""Of chunks' encodings: at 7B about 400 chunks, over an hour of audio."""
PREFIX_BYTES: Final = 3 << 28
"""Of keys and values of audio that may be asked about again: 5 clips at 7B."""
MAX_PREFIXES: Final = 16
MAX_TOGETHER: Final = 240 * SAMPLE_RATE
"""Samples of clips that are begun in one pass: a sound waits for no more of them."""

USUAL_PROMPTS: Final = (
    *((0, tokens) for tokens in (48, 112, 176, 240)),
    *((past, tokens) for past in (64, 128, 192) for tokens in (48, 112)),
)
"""Tokens that a row has and that come: clips of up to 30 s, at once or chunk by chunk.

One of each size that `Decoder` rounds up to, with place for some steps.
"""

USUAL_ROWS: Final = 4
"""Answers at a time for which steps are recorded before the first one is asked for."""


@dataclass(frozen=True)
class Begin:
    """Begin a row with a prompt about a clip; what comes next, by `mask`.

    `written` is what the answer begins with. `lasting`: the audio is likely to be
    asked about again.
    """

    row: int
    clip: Clip
    prompt: Prompt
    written: Sequence[int] = ()
    mask: Mask | None = None
    lasting: bool = True


@dataclass(frozen=True)
class Extend:
    """Append tokens to a row; what comes next, by `mask`."""

    row: int
    tokens: Sequence[int]
    mask: Mask | None = None


@dataclass(frozen=True)
class Score:
    """How likely each of several continuations of a row is, per token."""

    row: int
    continuations: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Embed:
    """The mean of a clip's encoding."""

    clip: Clip


@dataclass(frozen=True)
class Ahead:
    """Encode the finished chunks of an open clip; with `before`, fill a prefix too."""

    clip: Clip
    before: tuple[int, ...] | None


@dataclass(frozen=True)
class Choice:
    """The likeliest token that may come, and the log of its share of what may."""

    token: int
    logprob: float


PrefixKey: TypeAlias = tuple[tuple[int, ...], tuple[ChunkKey, ...]]


@dataclass(frozen=True)
class _Prefix:
    """A row that holds a prompt's beginning and the audio of a clip's first chunks."""

    row: int
    audio: int
    open: bool


class _Prefixes:
    """Rows of the decoder that are kept for another question about the same audio."""

    def __init__(self, decoder: Decoder, rows: range) -> None:
        self._decoder = decoder
        self._free = list(rows)
        self._kept: OrderedDict[PrefixKey, _Prefix] = OrderedDict()

    def get(self, key: PrefixKey) -> _Prefix | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def longest(self, key: PrefixKey) -> _Prefix | None:
        """What is kept of a clip whose end was not there yet."""
        before, chunks = key
        for count in range(len(chunks) - 1, 0, -1):
            if found := self.get((before, chunks[:count])):
                return found
        return None

    def take(self) -> int:
        """An empty row; what was unused for longest makes room."""
        if not self._free:
            self.drop(next(iter(self._kept)))
        return self._free.pop()

    def put(self, key: PrefixKey, prefix: _Prefix, *, lasting: bool = True) -> None:
        """Keep a row. One that is not `lasting` is the next to make room."""
        self._kept[key] = prefix
        if not lasting:
            self._kept.move_to_end(key, last=False)

    def overtake(self, prefix: _Prefix) -> None:
        """Drop an open clip's prefix: more of the clip is in another row now."""
        self.drop(next(key for key, kept in self._kept.items() if kept is prefix))

    def drop(self, key: PrefixKey) -> None:
        self.give_back(self._kept.pop(key).row)

    def give_back(self, row: int) -> None:
        self._decoder.truncate(row, 0)
        self._free.append(row)

    def clear(self) -> None:
        while self._kept:
            self.drop(next(iter(self._kept)))


class Ears:
    """Answers the needs of calls: the scheduler's model."""

    def __init__(
        self,
        model: MiDashengLM,
        rows: int,
        length: int,
        writable: npt.NDArray[np.bool_],
    ) -> None:
        """Serve `rows` rows of `length` tokens. `writable`: tokens of free answers."""
        self._model = model
        self._rows = rows
        config = model.config.text
        weight = next(model.audio_projector.parameters())
        self._device: torch.device = weight.device
        self._factor = model.config.subsample_factor
        heads = config["num_key_value_heads"]
        size = config.get(
            "head_dim", config["hidden_size"] // config["num_attention_heads"]
        )
        row_bytes = (
            length * 2 * config["num_hidden_layers"] * heads * size * weight.itemsize
        )
        prefixes = max(2, min(MAX_PREFIXES, PREFIX_BYTES // row_bytes))
        self.decoder = Decoder(model.decoder, rows + prefixes, length)
        self._prefixes = _Prefixes(self.decoder, range(rows, rows + prefixes))
        self._hearing = Hearing(model, ENCODED_BYTES)
        self._writable = torch.from_numpy(writable).to(self._device)
        self._hearing.prepare()
        self.decoder.prepare(USUAL_PROMPTS, min(rows, USUAL_ROWS))

    def release(self, row: int) -> None:
        """Free a call's row."""
        self.decoder.truncate(row, 0)

    def relieve(self, error: Exception) -> EngineError | None:
        """For a lack of memory: drop what is only kept, and say what a person can do."""
        if not is_lack_of_memory(error):
            return None
        self._prefixes.clear()
        self._hearing.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return EngineError(
            "The memory is too small for this: take a smaller variant of the model, "
            "or set a smaller midashenglm.max_batch."
        )

    @torch.inference_mode()
    def perform(self, needs: Sequence[Any]) -> list[Any]:
        """Answer needs of one type: see each type. What failed leaves rows as before."""
        rows = [need.row for need in needs if hasattr(need, "row")]
        filled = [self.decoder.filled(row) for row in rows]
        try:
            return self._perform(needs)
        except Exception:
            for row, length in zip(rows, filled, strict=True):
                self.decoder.truncate(row, length)
            raise

    def _perform(self, needs: Sequence[Any]) -> list[Any]:
        if isinstance(needs[0], Begin):
            return self._begin(needs)
        if isinstance(needs[0], Extend):
            return self._extend(needs)
        if isinstance(needs[0], Score):
            return [self._score(need) for need in needs]
        if isinstance(needs[0], Embed):
            return self._embed(needs)
        for need in needs:
            self._ahead(need)
        return [None] * len(needs)

    def _begin(self, needs: Sequence[Begin]) -> list[Any]:
        """A Choice each; LATER for what is too much at once, or a clip asked about twice."""
        answers: list[Any] = [LATER] * len(needs)
        needs = _together(needs)
        heard = self._hearing.hear([need.clip for need in needs])
        keys = [
            (need.prompt.before, each.keys)
            for need, each in zip(needs, heard, strict=True)
        ]
        new: dict[PrefixKey, int] = {}
        opened: list[_Prefix] = []
        now: list[int] = []
        embeddings: list[Tensor] = []
        for place, (need, key) in enumerate(zip(needs, keys, strict=True)):
            if key in new:
                continue
            rest = [*need.prompt.after, *need.written]
            kept = self._prefixes.get(key)
            if kept is None:
                new[key] = place
                kept = self._prefixes.longest(key)
                before = self._audio(need.prompt.before, heard[place], kept)
                embeddings.append(torch.cat([before, self.decoder.embed(rest)]))
                if kept is not None and kept.open:
                    opened.append(kept)
            else:
                embeddings.append(self.decoder.embed(rest))
            if kept is not None:
                self.decoder.fork(kept.row, [need.row])
            now.append(place)
        logits = self.decoder.prefill([needs[place].row for place in now], embeddings)
        for prefix in dict.fromkeys(opened):
            self._prefixes.overtake(prefix)
        for key, place in new.items():
            self._keep(key, needs[place], heard[place])
        choices = self._choose(logits, [needs[place].mask for place in now])
        for place, choice in zip(now, choices, strict=True):
            answers[place] = choice
        return answers

    def _audio(
        self, before: Sequence[int], heard: Heard, kept: _Prefix | None
    ) -> Tensor:
        """Embeddings of a prompt's beginning and a clip's audio, after what is kept."""
        if kept is not None:
            return self._model.project(heard.joined[kept.audio * self._factor :])
        return torch.cat(
            [self.decoder.embed(before), self._model.project(heard.joined)]
        )

    def _keep(self, key: PrefixKey, need: Begin, heard: Heard) -> None:
        """Keep the beginning of a row that was just filled."""
        audio = len(heard.joined) // self._factor
        row = self._prefixes.take()
        try:
            self.decoder.fork(need.row, [row])
        except Exception:
            self._prefixes.give_back(row)
            raise
        self.decoder.truncate(row, len(need.prompt.before) + audio)
        self._prefixes.put(key, _Prefix(row, audio, open=False), lasting=need.lasting)

    def _ahead(self, need: Ahead) -> None:
        (heard,) = self._hearing.hear([need.clip])
        if need.before is None or not heard.keys:
            return
        key = (need.before, heard.keys)
        if self._prefixes.get(key) is not None:
            return
        kept = self._prefixes.longest(key)
        embeddings = self._audio(need.before, heard, kept)
        row = self._prefixes.take()
        try:
            if kept is not None:
                self.decoder.fork(kept.row, [row])
            self.decoder.prefill([row], [embeddings])
        except Exception:
            self._prefixes.give_back(row)
            raise
        if kept is not None and kept.open:
            self._prefixes.overtake(kept)
        audio = len(heard.joined) // self._factor
        self._prefixes.put(key, _Prefix(row, audio, open=True))

    def _extend(self, needs: Sequence[Extend]) -> list[Any]:
        """A Choice each. One token each is a step, more are a prefill."""
        steps = [place for place, need in enumerate(needs) if len(need.tokens) == 1]
        others = [place for place, need in enumerate(needs) if len(need.tokens) != 1]
        parts = []
        if steps:
            steps.sort(key=lambda place: needs[place].row)
            rows = [needs[place].row for place in steps]
            parts.append(
                self.decoder.step(rows, [needs[place].tokens[0] for place in steps])
            )
        if others:
            parts.append(
                self.decoder.prefill(
                    [needs[place].row for place in others],
                    [self.decoder.embed(needs[place].tokens) for place in others],
                )
            )
        order = steps + others
        choices = self._choose(torch.cat(parts), [needs[place].mask for place in order])
        answers: list[Any] = [None] * len(needs)
        for place, choice in zip(order, choices, strict=True):
            answers[place] = choice
        return answers

    def _score(self, need: Score) -> list[float] | EngineError:
        """Mean log-probabilities per token."""
        lengths = torch.tensor([len(each) for each in need.continuations])
        found = self.decoder.score(need.row, need.continuations).sum(-1).cpu()
        means: list[float] = (found / lengths).tolist()
        return means if np.isfinite(means).all() else _broken()

    def _embed(self, needs: Sequence[Embed]) -> list[npt.NDArray[np.float32]]:
        """Means over patches, (dim,) each."""
        heard = self._hearing.hear([need.clip for need in needs])
        means = torch.stack([each.joined.float().mean(0) for each in heard])
        return list(means.cpu().numpy())

    def _choose(
        self, logits: Tensor, masks: Sequence[Mask | None]
    ) -> list[Choice | EngineError]:
        """The likeliest writable token of each row, or why there is none."""
        allowed = self._writable.expand(len(masks), -1)
        bound = [place for place, mask in enumerate(masks) if mask is not None]
        if bound:
            allowed = allowed.clone()
            given = np.stack([mask for mask in masks if mask is not None])
            allowed[bound] = torch.from_numpy(given).to(self._device)
        broken = logits.isnan().any(-1)
        logits = logits.masked_fill(~allowed, -torch.inf)
        found, tokens = logits.max(-1)
        broken |= ~found.isfinite()
        shares = found - logits.logsumexp(-1)
        # One transfer for all: reading a value waits for the GPU.
        told = torch.stack([tokens.double(), shares.double(), broken.double()]).tolist()
        return [
            _broken() if bad else Choice(int(token), share)
            for token, share, bad in zip(*told, strict=True)
        ]


def is_lack_of_memory(error: Exception) -> bool:
    """Whether torch had no memory left; on a CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _together(needs: Sequence[Begin]) -> Sequence[Begin]:
    """The first of needs, at least one, that are not too much for one pass."""
    samples = 0
    for place, need in enumerate(needs):
        samples += need.clip.waveform.size
        if place and samples > MAX_TOGETHER:
            return needs[:place]
    return needs


def _broken() -> EngineError:
    return EngineError(
        "The model computes no numbers: its files are damaged, or its type does not "
        "suit this device; fetch it again, or take another variant."
    )
