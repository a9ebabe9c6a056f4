"""A recording of any length becomes utterances, as far as it has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
import math
from typing import Final

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import SileroVoice, VoiceActivity
from model_server.listen.endpoint import (
    Endpointer,
    EndpointEvent,
    EndpointSettings,
    Utterance,
)

SETTINGS: Final = EndpointSettings(min_speech_s=0.1, max_utterance_s=math.inf)
"""As for one utterance that a client has cut: a single short word counts."""

MARGIN: Final = round(SETTINGS.post_s * SAMPLE_RATE)

SHORTER_PAUSES: Final = (0.3, 0.15, 0.064)
"""Seconds. Where somebody speaks for long without a pause, shorter ones must do."""

STEP: Final = 10 * SAMPLE_RATE
"""Samples between two looks at who else waits."""


def utterances(
    blocks: Iterable[Pcm],
    max_utterance_s: float,
    vad: Callable[[], VoiceActivity] = SileroVoice,
) -> Iterator[list[Utterance]]:
    """Utterances of a recording, in steps: what each ten seconds of it complete.

    None is longer than `max_utterance_s`: longer speech is cut at its pauses, and
    anywhere where it has none.
    """
    endpointer = Endpointer(vad(), SETTINGS)
    longest = round(max_utterance_s * SAMPLE_RATE)
    samples = heard = 0

    def cut(events: list[EndpointEvent]) -> Iterator[Utterance]:
        nonlocal heard
        for event in events:
            if isinstance(event, Utterance):
                first = _first(event, samples)
                # A margin may reach a little into what was said before.
                pcm = event.pcm[max(0, heard - first) :]
                heard = event.end
                whole = replace(event, pcm=pcm)
                yield from _cut(whole, samples, longest, vad, SHORTER_PAUSES)

    for step in _steps(blocks):
        samples += step.size
        yield list(cut(endpointer.push(step)))
    yield list(cut(endpointer.finish()))


def _first(utterance: Utterance, samples: int) -> int:
    """The sample with which an utterance's audio begins.

    `samples` is how many had been read when it ended: its margin ends there.
    """
    return min(utterance.end + MARGIN, samples) - utterance.pcm.size


def _steps(blocks: Iterable[Pcm]) -> Iterator[Pcm]:
    """Blocks joined to pieces of at least STEP samples, but for the last."""
    waiting: list[Pcm] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += block.size
        if size >= STEP:
            yield np.concatenate(waiting)
            waiting, size = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _cut(
    utterance: Utterance,
    samples: int,
    longest: int,
    vad: Callable[[], VoiceActivity],
    pauses: tuple[float, ...],
) -> Iterator[Utterance]:
    """An utterance in pieces of at most `longest` samples of speech."""
    if utterance.end - utterance.start <= longest:
        yield utterance
        return
    pcm = utterance.pcm
    first = _first(utterance, samples)
    if not pauses:
        for start in range(utterance.start, utterance.end, longest):
            end = min(start + longest, utterance.end)
            left = start - first if start > utterance.start else 0
            right = end - first if end < utterance.end else pcm.size
            yield Utterance(start, end, pcm[left:right])
        return
    endpointer = Endpointer(vad(), replace(SETTINGS, pause_s=pauses[0]))
    parts = [
        (part.start + first, part.end + first)
        for part in endpointer.push(pcm) + endpointer.finish()
        if isinstance(part, Utterance)
    ]
    groups = list(_joined(parts, longest))
    # A margin ends half-way to its neighbour, whose words it must not repeat.
    between = [(end + start) // 2 for (_, end), (start, _) in pairwise(groups)]
    edges = [first, *between, first + pcm.size]
    for (start, end), (before, after) in zip(groups, pairwise(edges), strict=True):
        left = max(start - MARGIN, before) - first
        right = min(end + MARGIN, after) - first
        piece = Utterance(start, end, pcm[left:right])
        yield from _cut(piece, first + right, longest, vad, pauses[1:])


def _joined(parts: list[tuple[int, int]], longest: int) -> Iterator[tuple[int, int]]:
    """Neighbours together, as long as they stay within `longest`."""
    held: tuple[int, int] | None = None
    for start, end in parts:
        if held is None:
            held = (start, end)
        elif end - held[0] <= longest:
            held = (held[0], end)
        else:
            yield held
            held = (start, end)
    if held is not None:
        yield held
