"""What the sound engine finds and how often it is wrong, through the monitor as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
import itertools

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel
from model_server.engines.base import SoundClassifier
from model_server.engines.embedded.sounds import SLUGS
from model_server.evaluation import synthesis
from model_server.evaluation.recordings import Clip
from model_server.evaluation.synthesis import Audio
from model_server.monitor.monitor import SoundChange, SoundMonitor
from model_server.monitor.rhythm import RhythmRecognizer

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


def look_alikes(seconds: float = 130.0) -> dict[str, Audio]:
    """What beeps at home and is no alarm, over a household's background."""
    made = {
        "low battery": synthesis.low_battery_chirp(seconds),
        "low battery, every 30 s": synthesis.low_battery_chirp(seconds, every=30.0),
        "reversing lorry": synthesis.reversing_beeper(seconds),
        "reversing lorry, low": synthesis.reversing_beeper(seconds, 1250.0),
        "microwave": synthesis.microwave(seconds),
        "microwave, high": synthesis.microwave(seconds, 2600.0),
        "kitchen timer": synthesis.kitchen_timer(seconds),
        "kitchen timer, high": synthesis.kitchen_timer(seconds, 3400.0),
        "telephone": synthesis.phone_ring(seconds),
    }
    ground = synthesis.household(seconds, seed=7)
    return {name: synthesis.mix(audio, ground, 20.0) for name, audio in made.items()}


@dataclass(frozen=True)
class Condition:
    """One cell of the rhythm grid."""

    label: str
    frequency: float
    rt60: float
    snr_db: float
    timing: str


@dataclass(frozen=True)
class Outcome:
    """What a condition gave: the labels reported, seconds from the first beep to the report."""

    condition: Condition
    heard: tuple[str, ...]
    seconds: float | None

    @property
    def right(self) -> bool:
        """Whether exactly the alarm that sounded was reported, once."""
        return self.heard == (self.condition.label,)


TIMINGS: dict[str, dict[str, float]] = {
    "nominal": {},
    "all -10 %": {"on": 0.9, "off": 0.9, "pause": 0.9},
    "all +10 %": {"on": 1.1, "off": 1.1, "pause": 1.1},
    "on -, off +, pause -": {"on": 0.9, "off": 1.1, "pause": 0.9},
    "on +, off -, pause +": {"on": 1.1, "off": 0.9, "pause": 1.1},
    "clock +2 %": {"drift": 0.02},
    "clock -2 %": {"drift": -0.02},
    "one beep missed": {"missing": 4},
}


def rhythm_grid(
    frequencies: Sequence[float] = (520.0, 2900.0, 3100.0, 3500.0),
    rooms: Sequence[float] = (0.0, 0.4, 0.8),
    snrs: Sequence[float] = (20.0, 10.0, 5.0, 0.0, -5.0),
    timings: Sequence[str] = tuple(TIMINGS),
) -> list[Condition]:
    """Every combination, of both alarms."""
    return [
        Condition(*cell)
        for cell in itertools.product(
            ("smoke", "co"), frequencies, rooms, snrs, timings
        )
    ]


def alarm(condition: Condition, seconds: float, seed: int) -> Audio:
    """What a microphone hears in a condition; the first beep begins after one second."""
    factors = TIMINGS[condition.timing]
    make = synthesis.t3 if condition.label == "smoke" else synthesis.t4
    on, off, pause = (0.5, 0.5, 1.5) if condition.label == "smoke" else (0.1, 0.1, 5.0)
    dry = make(
        seconds,
        condition.frequency,
        on=on * factors.get("on", 1.0),
        off=off * factors.get("off", 1.0),
        pause=pause * factors.get("pause", 1.0),
        drift=factors.get("drift", 0.0),
        missing=(int(factors["missing"]),) if "missing" in factors else (),
        start=1.0,
    )
    wet = synthesis.room(dry, condition.rt60, seed=seed)
    grounds = (
        synthesis.household(seconds, seed=seed),
        synthesis.noise(seconds, "pink", seed=seed),
        synthesis.music(seconds, seed=seed),
    )
    return synthesis.mix(wet, grounds[seed % 3], condition.snr_db)


def try_condition(condition: Condition, seed: int, seconds: float = 22.0) -> Outcome:
    """Run the recogniser on one condition."""
    changes = RhythmRecognizer().push(synthesis.pcm(alarm(condition, seconds, seed)))
    starts = [change for change in changes if change.state == "start"]
    late = starts[0].at / SAMPLE_RATE - 1.0 if starts else None
    return Outcome(condition, tuple(change.label for change in starts), late)
