"""What the sound engine finds and how often it is wrong, through the monitor as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel
from model_server.engines.base import SoundClassifier
from model_server.engines.embedded.sounds import SLUGS
from model_server.evaluation import synthesis
from model_server.evaluation.recordings import Clip
from model_server.evaluation.synthesis import Audio
from model_server.monitor.monitor import SoundChange, SoundMonitor

LEAD_S = 3.0
TAIL_S = 4.0

Progress = Callable[[], None]


@dataclass
class Recall:
    """One label: its clips, how many gave its event, and how many others did too."""

    clips: int = 0
    found: int = 0
    others: int = 0
    wrong: int = 0
    names: list[str] = field(default_factory=list)


def windows(samples: Audio, window: int) -> Audio:
    """The windows of a clip that are not silent, (n, window), one every 0.5 s; at least one."""
    padded = np.pad(samples, (0, max(0, window - samples.size)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, window)[:: SAMPLE_RATE // 2]
    power = np.mean(cut**2, axis=1)
    return np.ascontiguousarray(cut[power >= 0.01 * power.max()])


def embed(clip: Audio, snr_db: float, seed: int) -> Audio:
    """A clip three seconds into a household's background, four seconds of which follow."""
    quiet = [synthesis.silence(LEAD_S), clip, synthesis.silence(TAIL_S)]
    signal = np.concatenate(quiet)
    seconds = signal.size / SAMPLE_RATE
    return synthesis.mix(signal, synthesis.household(seconds, seed=seed), snr_db)


def started(
    audio: Audio, classifier: SoundClassifier | None, labels: Sequence[SoundLabel]
) -> list[SoundChange]:
    """The events that a recording starts."""
    changes = SoundMonitor(classifier, labels).push(synthesis.pcm(audio))
    return [change for change in changes if change.state == "start"]


def recall(
    clips: Sequence[Clip],
    classifier: SoundClassifier,
    labels: Sequence[SoundLabel],
    *,
    snr_db: float,
    progress: Progress = lambda: None,
) -> dict[str, Recall]:
    """Per label: its clips that gave its event, other clips that gave it too."""
    table = {label.slug: Recall() for label in labels if label.source == "classifier"}
    for seed, clip in enumerate(clips):
        truth = SLUGS.get(clip.recording.name or "")
        heard = {
            change.label
            for change in started(embed(clip.samples, snr_db, seed), classifier, labels)
        }
        for slug, row in table.items():
            if slug == truth:
                row.clips += 1
                row.found += slug in heard
                if slug in heard:
                    row.names.append(clip.recording.path.name)
            else:
                row.others += 1
                row.wrong += slug in heard
        progress()
    return table


def false_alarms(
    stretches: Iterable[Audio],
    classifier: SoundClassifier | None,
    labels: Sequence[SoundLabel],
    progress: Progress = lambda: None,
) -> tuple[float, dict[str, int]]:
    """Hours of one stream of negatives, and the events that it gave, by label."""
    monitor = SoundMonitor(classifier, labels)
    counts: dict[str, int] = {}
    samples = 0
    for stretch in stretches:
        for change in monitor.push(synthesis.pcm(stretch)):
            if change.state == "start":
                counts[change.label] = counts.get(change.label, 0) + 1
        samples += stretch.size
        progress()
    return samples / SAMPLE_RATE / 3600, counts


def talk(clips: Sequence[Clip], seed: int = 0) -> Iterator[Audio]:
    """People talking at home: each clip at some level over a household's background."""
    rng = np.random.default_rng(seed)
    for number, clip in enumerate(clips):
        said = np.concatenate(
            [clip.samples, synthesis.silence(float(rng.uniform(0.3, 2)))]
        )
        level = synthesis.loudness(said)
        if level:
            said = said * (10 ** (rng.uniform(-36, -16) / 20) / level)
        ground = synthesis.household(said.size / SAMPLE_RATE, seed=number)
        yield synthesis.mix(said.astype(np.float32), ground, float(rng.uniform(8, 35)))


def songs(minutes: int, seed: int = 9000) -> Iterator[Audio]:
    """Generated music of seeds that training never uses, a minute each, at some level."""
    rng = np.random.default_rng(seed)
    for number in range(minutes):
        rms = 10 ** (rng.uniform(-40, -16) / 20)
        yield synthesis.music(60.0, seed=seed + number, rms=rms)


def noises(minutes: int, seed: int = 9000) -> Iterator[Audio]:
    """White, pink and brown noise and household hum, a minute each, at some level."""
    rng = np.random.default_rng(seed)
    for number in range(minutes):
        rms = 10 ** (rng.uniform(-60, -20) / 20)
        colours: tuple[synthesis.Colour, ...] = ("white", "pink", "brown")
        if number % 4 == 3:
            yield synthesis.household(60.0, seed=seed + number, rms=rms)
        else:
            yield synthesis.noise(
                60.0, colours[number % 4], seed=seed + number, rms=rms
            )
