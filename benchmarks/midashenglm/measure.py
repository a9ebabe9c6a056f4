"""The measurements: each fills its cells, and says why where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import gc
import statistics
import time
import traceback

import torch
from torch import Tensor

from benchmarks.midashenglm.figures import (
    FAILED,
    NO_FIGURE,
    NO_MEMORY,
    NO_TIME,
    TOO_NOISY,
    Cell,
    Figures,
    Row,
    number,
)
from benchmarks.midashenglm.omni import Omni
from benchmarks.midashenglm.sizes import LONGEST, NEW_TOKENS, Sizes
from benchmarks.midashenglm.systems import (
    EARSHOT,
    OMNI,
    OMNI_HERE,
    OMNI_UNPADDED,
    PLAIN,
    RATE,
    Streaming,
    System,
    build,
    systems,
)
from benchmarks.midashenglm.work import (
    Limits,
    decoder_work,
    largest_batch,
    largest_batch_in_transformers,
    limits,
)
from model_server.engines.midashenglm.model import MiDashengLM

COLUMNS = (EARSHOT, OMNI_HERE, OMNI, OMNI_UNPADDED, PLAIN)

DECODE = "decoding, batch 1"
LARGEST = "largest batch that ran in 80 GB"
MEMORY = 80e9
"""Bytes of the GPU on which the published figures were measured."""

_ATTEMPTS = 4

STREAMED = "first token after 30 s, 20 s of it heard before"


def first_token(seconds: int) -> str:
    """Name of the row of the time to first token."""
    return f"first token after {seconds} s"


def throughput(batch: int) -> str:
    """Name of the row of samples per second."""
    return f"30 s clips, batch {batch}"


def peak(batch: int) -> str:
    """Name of the row of the largest amount of memory."""
    return f"peak memory, batch {batch}"


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    seconds: tuple[int, ...]
    batches: tuple[int, ...]
    new_tokens: int
    runs: int
    largest: bool = False

    def figures(self, title: str) -> Figures:
        """An empty table; cells that no figure belongs in are marked."""
        figures = Figures(title, COLUMNS, self.rows)
        timed = {first_token(each) for each in self.seconds if each < LONGEST}
        for row in figures.rows:
            for column in COLUMNS:
                if (
                    (column == OMNI_UNPADDED and row.name not in timed)
                    or (column != EARSHOT and row.name == STREAMED)
                    or (column == PLAIN and row.name == LARGEST)
                ):
                    figures.put(row.name, column, Cell(reason=NO_FIGURE))
        return figures

    @property
    def rows(self) -> list[Row]:
        """The table's rows."""
        return [
            *(Row(first_token(each), "ms", "lower") for each in self.seconds),
            Row(STREAMED, "ms", "lower"),
            Row(DECODE, "tokens/s", "higher"),
            *(Row(throughput(each), "samples/s", "higher") for each in self.batches),
            *(Row(peak(each), "GB", "lower") for each in self.batches),
            *([Row(LARGEST, "clips", "higher")] if self.largest else []),
        ]


def largest_batches(sizes: Sizes) -> tuple[int, int, int]:
    """Clips of 30 s that fit in 80 GB: ours, the baseline's, and in transformers."""
    work = decoder_work(sizes)
    ours, theirs = limits(sizes, LONGEST), limits(sizes, LONGEST, omni=True)

    def fixed(each: Limits) -> int:
        return work.bytes + each.encoder.weight_bytes

    return (
        largest_batch(work, fixed(ours), ours.prompt + NEW_TOKENS, MEMORY),
        largest_batch(work, fixed(theirs), theirs.prompt + NEW_TOKENS, MEMORY),
        largest_batch_in_transformers(
            work, fixed(theirs), theirs.prompt, NEW_TOKENS, MEMORY
        ),
    )


@dataclass(frozen=True)
class Clock:
    """When the benchmark has to end, in seconds of `time.monotonic`."""

    end: float

    @property
    def over(self) -> bool:
        """Whether nothing more should be begun."""
        return time.monotonic() > self.end


def _clip(seconds: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    clip = torch.randn(int(seconds * RATE), generator=generator) * 0.1
    return clip.pin_memory() if torch.cuda.is_available() else clip


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _times(call: Callable[[], object], runs: int, warm: int = 2) -> list[float]:
    """Seconds of each run; the call must end with a value that it waited for.

    Without a GPU they are this process's own, so that other programs do not count.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for _ in range(warm):
        call()
    found = []
    for _ in range(runs):
        start = clock()
        call()
        found.append(clock() - start)
    return found


def _percentile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


class Measuring:
    """Fills one table; `changed` is called after each new figure."""

    def __init__(
        self,
        sizes: Sizes,
        device: torch.device,
        plan: Plan,
        clock: Clock,
        figures: Figures,
        changed: Callable[[], None],
    ) -> None:
        """Make the models. Limits are given for the full size on a GPU only."""
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.model: MiDashengLM = build(sizes, device, dtype)
        self.omni = Omni(sizes, device, dtype)
        self._sizes, self._device, self._plan = sizes, device, plan
        self._clock, self._figures, self._changed = clock, figures, changed
        self._limited = device.type == "cuda" and sizes.name == "7B"
        self._systems = systems(self.model, self.omni)

    def everything(self) -> None:
        """Measure what there is time for, the most telling first."""
        for seconds in self._plan.seconds[::-1]:
            for system in self._systems:
                if system.name != OMNI_UNPADDED or seconds < LONGEST:
                    self._first_token(system, seconds)
        self._streamed()
        for system in self._systems:
            if system.name != OMNI_UNPADDED:
                self._decoding(system)
        for system in self._systems:
            if system.name != OMNI_UNPADDED:
                for batch in self._plan.batches:
                    self._throughput(system, batch)
        if self._plan.largest:
            for system, batch in zip(
                self._systems[:3], largest_batches(self._sizes), strict=True
            ):
                self._largest(system, batch)

    def _limit(self, value: float) -> float | None:
        return value if self._limited else None

    def _others_bytes(self, system: System) -> int:
        """Weights that are in memory only because another system is compared."""
        if "Omni" not in system.name:
            return self.omni.weight_bytes
        parts = (self.model.audio_encoder, self.model.audio_projector)
        return sum(each.nbytes for part in parts for each in part.parameters())

    def _peak(self, system: System) -> float:
        """Most GB that a system has used since its cell was begun."""
        return (torch.cuda.max_memory_allocated() - self._others_bytes(system)) / 1e9

    @contextmanager
    def _cells(self, system: str, *rows: str) -> Iterator[bool]:
        """Say why where cells cannot be filled; yields whether there is time."""
        going = not self._clock.over
        reason = "" if going else NO_TIME
        _settle(self._device)
        try:
            yield going
        except RuntimeError as error:
            # Torch's own errors; one figure's must not cost the others.
            reason = NO_MEMORY if _short_of_memory(error) else FAILED
            if reason == FAILED:
                traceback.print_exc()
        if reason:
            for row in rows:
                self._figures.put(row, system, Cell(reason=reason))
        self._changed()

    def _first_token(self, system: System, seconds: int) -> None:
        row, clip = first_token(seconds), _clip(seconds)
        with self._cells(system.name, row) as going:
            if not going:
                return
            decode = system.decoding(1, len(system.listen([clip])[0]))
            times = _times(
                lambda: int(decode(system.listen([clip]), 1)[0, 0]), self._plan.runs
            )
            limit = limits(self._sizes, seconds, omni="Omni" in system.name)
            padded = system.name != OMNI_UNPADDED
            self._figures.put(
                row,
                system.name,
                _milliseconds(
                    times, self._limit(1e3 * limit.first_token_s) if padded else None
                ),
            )

    def _streamed(self) -> None:
        with self._cells(EARSHOT, STREAMED) as going:
            if going:
                streaming = Streaming(self.model, _clip(LONGEST))
                times = _times(streaming.first_token, self._plan.runs)
                self._figures.put(STREAMED, EARSHOT, _milliseconds(times, None))

    def _decoding(self, system: System) -> None:
        with self._cells(system.name, DECODE) as going:
            if not going:
                return
            prompts, count = system.listen([_clip(LONGEST)]), self._plan.new_tokens
            decode = system.decoding(1, len(prompts[0]) + count)

            def seconds(tokens: int) -> float:
                runs = max(3, self._plan.runs // 10)
                return min(_times(lambda: int(decode(prompts, tokens)[0, -1]), runs))

            # Steps alone: an answer's time without that of its first token.
            taken = seconds(count) - seconds(1)
            limit = limits(self._sizes, LONGEST, omni="Omni" in system.name)
            cell = Cell((count - 1) / taken, limit=self._limit(limit.tokens_per_s))
            self._figures.put(
                DECODE, system.name, cell if taken > 0 else Cell(reason=TOO_NOISY)
            )

    def _throughput(self, system: System, batch: int) -> None:
        rows = throughput(batch), peak(batch)
        with self._cells(system.name, *rows) as going:
            if not going:
                return
            clips, count = [_clip(LONGEST)] * batch, self._plan.new_tokens
            length = len(system.listen(clips[:1])[0])
            decode = system.decoding(batch, length + count)
            # The first run of ours records its graphs.
            warm = system.name in (EARSHOT, OMNI_HERE)
            seconds = _times(
                lambda: int(decode(system.listen(clips), count)[0, -1]), 1, int(warm)
            )
            limit = limits(self._sizes, LONGEST, omni="Omni" in system.name)
            self._figures.put(
                rows[0],
                system.name,
                Cell(
                    batch / seconds[0],
                    limit=self._limit(limit.samples_per_s(batch, count)),
                ),
            )
            if self._device.type == "cuda":
                self._figures.put(rows[1], system.name, Cell(self._peak(system)))

    def _largest(self, system: System, batch: int) -> None:
        """Run as many clips as should fit, and fewer while they do not."""
        for _ in range(_ATTEMPTS):
            with self._cells(system.name, LARGEST) as going:
                if going:
                    self._figures.put(LARGEST, system.name, self._run(system, batch))
                return
            batch = int(batch * 0.9)

    def _run(self, system: System, batch: int) -> Cell:
        """Begin answers for so many clips."""
        prompts = system.listen([_clip(LONGEST)])
        decode = system.decoding(batch, len(prompts[0]) + self._plan.new_tokens)
        int(decode(prompts * batch, 2)[0, -1])
        return Cell(batch, detail=f"{self._peak(system):.0f} GB")


def _short_of_memory(error: BaseException | None) -> bool:
    """Whether that is the cause: ending a graph's recording may raise another error."""
    if error is None:
        return False
    return isinstance(error, torch.OutOfMemoryError) or _short_of_memory(
        error.__context__
    )


def _milliseconds(times: Sequence[float], limit: float | None) -> Cell:
    return Cell(
        1e3 * statistics.median(times),
        limit=limit,
        detail=f"p95 {number(1e3 * _percentile(times, 0.95))}",
    )
