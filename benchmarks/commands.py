"""How well the embedded recogniser hears commands, and what else it takes for one.

`python -m benchmarks.commands` prints the table of docs/benchmarks.md; `--json`
the same for programs; `--fit` also constants for writing.py, or with `--phonetic`, which
measures pocketsphinx, those of rejection.py. Recordings are
read from ../shared/data (or EARSHOT_DATA); synthesised speech is made on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import csv
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
import json
import os
from pathlib import Path
import time
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
import soundfile
import typer

from benchmarks.spoken import COMMANDS, TALK, VOICES, say
from model_server.audio.vad import SileroVoice
from model_server.engines.base import Pcm
from model_server.engines.embedded import moonshine, phonetic
from model_server.engines.embedded.decoder import GrammarDecoder
from model_server.engines.embedded.home import compile_home
from model_server.engines.embedded.sentences import ANSWERS
from model_server.engines.embedded.trim import speech_in
from model_server.engines.embedded.writing import WritingEar, decide
from model_server.evaluation import synthesis
from model_server.evaluation.commands import at_home
from model_server.evaluation.reading import Meaning, Reading
from model_server.listen.endpoint import Endpointer, Utterance
from tests.server.homes import family_home

DATA = Path(
    os.environ.get("EARSHOT_DATA", Path(__file__).parents[2] / "shared" / "data")
)

_COLOURS: tuple[Literal["white", "pink", "brown"], ...] = ("white", "pink", "brown")


@dataclass(frozen=True)
class Clip:
    """One utterance; no label: it is no command. `voice` keeps folds apart."""

    subset: str
    voice: str
    label: str | None
    pcm: Pcm


@dataclass(frozen=True)
class Found:
    """What was found, and whether it is accepted.

    `features`, (terms,), are what speaks for `likeliest`: the network may find another
    sentence when it listens again.
    """

    text: str = ""
    features: npt.NDArray[np.float64] | None = None
    accepted: bool = False
    likeliest: str = ""


@dataclass(frozen=True)
class Outcome:
    """What was found in a clip, how long that took (s), and what was meant.

    What has no intent, as an answer, is its own meaning.
    """

    clip: Clip
    found: Found
    seconds: float
    meant: Meaning | str | None
    heard: Meaning | str | None
    likeliest: Meaning | str | None

    @property
    def fits(self) -> bool:
        """Whether the likeliest sentence is what was meant."""
        return self.meant is not None and self.meant == self.likeliest


def recorded(agent: Reading) -> Iterator[Clip]:
    """Yield the recordings: commands that this home understands, and other speech.

    The rule: a clip of the command sets whose label Home Assistant reads as a
    command of this home is one; every other clip there, such as the wizards'
    spells and other languages, is speech that must be rejected.
    """
    if not DATA.is_dir():
        return
    for row in csv.DictReader((DATA / "MANIFEST.csv").open(encoding="utf-8")):
        subset = row["subset"]
        if subset not in ("commands-real", "commands-tts", "speech-negative"):
            continue
        pcm, _ = soundfile.read(DATA / row["file"], dtype="int16")
        label = row["label"]
        foreign = subset == "commands-tts" and "/en/" not in row["file"]
        command = subset != "speech-negative" and not foreign and agent.read(label)
        name = "other languages" if foreign else subset
        yield Clip(
            name if command or subset == "speech-negative" else f"not: {name}",
            f"{name} {row['file']}",
            label if command else None,
            pcm,
        )


def synthesised() -> Iterator[Clip]:
    """Yield commands and talk by Debian's voices, then music and noise."""
    for voice in VOICES:
        for text in COMMANDS:
            yield Clip("synthesised", voice, text, say(text, voice))
        for text in ANSWERS:
            yield Clip("answers", voice, text, say(text, voice))
        for text in TALK:
            yield Clip("talk", voice, None, say(text, voice))
    for seed in range(20):
        sound = synthesis.music(4.0, seed=seed)
        yield Clip("music", f"music {seed}", None, _to_pcm(sound))
        sound = synthesis.noise(4.0, _COLOURS[seed % 3], seed=seed)
        yield Clip("noise", f"noise {seed}", None, _to_pcm(sound))


def uttered(clips: Iterable[Clip], snr_db: float | None = None) -> Iterator[Clip]:
    """Yield what a stream's endpointer cuts out of clips, over a household."""
    for number, clip in enumerate(clips):
        endpointer = Endpointer(SileroVoice())
        speech = clip.pcm.astype(np.float32) / np.float32(32768)
        stream = at_home(speech, snr_db, seed=number)
        subset = clip.subset if snr_db is None else f"{clip.subset}, {snr_db:g} dB"
        for event in [*endpointer.push(stream), *endpointer.finish()]:
            if isinstance(event, Utterance) and not event.too_long:
                yield replace(clip, subset=subset, pcm=event.pcm)


def writing_look(ear: WritingEar, pcm: Pcm) -> Found:
    """Look at an utterance, (samples,), by the network: its terms are of the first look."""
    speech = speech_in(pcm)
    looks = iter(()) if speech is None else ear.looks(pcm, speech)
    if (first := next(looks, None)) is None:
        return Found()
    # The later ones are taken only if they are needed.
    heard = decide(chain([first], looks)).text
    likeliest = first.best.text
    return Found(heard or likeliest, first.features(), bool(heard), likeliest)


def phonetic_look(decoder: GrammarDecoder, pcm: Pcm) -> Found:
    """Look at an utterance, (samples,), by its phones."""
    finding = phonetic.look(decoder, pcm)
    if finding is None or finding.evidence is None:
        return Found()
    accepted = bool(phonetic.judge(finding).text)
    return Found(finding.text, finding.evidence.features(), accepted, finding.text)


def hear(
    clips: Iterable[Clip], look: Callable[[Pcm], Found], agent: Reading
) -> list[Outcome]:
    """Run the recogniser's own steps over clips, and keep what each found."""

    def meaning(text: str | None) -> Meaning | str | None:
        return (agent.read(text) or text) if text else None

    outcomes = []
    for clip in clips:
        start = time.perf_counter()
        found = look(clip.pcm)
        seconds = time.perf_counter() - start
        meanings = map(meaning, (clip.label, found.text, found.likeliest))
        outcomes.append(Outcome(clip, found, seconds, *meanings))
    return outcomes


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    subset: str
    clips: int
    seconds: float
    right: int
    wrong: int
    on_off: int
    accepted_per_hour: float | None
    real_time: float
    p50_ms: float
    p95_ms: float


def summarise(outcomes: list[Outcome]) -> Row:
    """Count one subset; of negatives every acceptance is wrong."""
    accepted = [outcome for outcome in outcomes if outcome.found.accepted]
    right = sum(
        outcome.meant is not None and outcome.meant == outcome.heard
        for outcome in accepted
    )
    seconds = sum(len(outcome.clip.pcm) for outcome in outcomes) / 16_000
    times = [outcome.seconds for outcome in outcomes]
    commands = outcomes[0].meant is not None
    return Row(
        subset=outcomes[0].clip.subset,
        clips=len(outcomes),
        seconds=seconds,
        right=right,
        wrong=len(accepted) - right,
        on_off=sum(_flipped(outcome) for outcome in accepted),
        accepted_per_hour=None if commands else len(accepted) / seconds * 3600,
        real_time=sum(times) / seconds,
        p50_ms=float(np.percentile(times, 50)) * 1000,
        p95_ms=float(np.percentile(times, 95)) * 1000,
    )


def _flipped(outcome: Outcome) -> bool:
    pair = {"HassTurnOn", "HassTurnOff"}
    if not isinstance(outcome.meant, tuple) or not isinstance(outcome.heard, tuple):
        return False
    return {outcome.meant[0], outcome.heard[0]} == pair


def fit(outcomes: list[Outcome]) -> tuple[float, npt.NDArray[np.float64]]:
    """Fit the confidence: logistic regression, each side of equal weight in all."""
    rows = [outcome for outcome in outcomes if outcome.found.features is not None]
    features = np.array([outcome.found.features for outcome in rows])
    right = np.array([outcome.fits for outcome in rows])
    mean, spread = features.mean(0), features.std(0)
    terms = np.c_[(features - mean) / spread, np.ones(len(features))]
    weights = np.zeros(terms.shape[1])
    share = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum())
    for _ in range(50):
        chance = 1 / (1 + np.exp(-terms @ weights))
        gradient = terms.T @ (share * (chance - right)) + 1e-4 * weights
        curve = terms.T @ (terms * (share * chance * (1 - chance))[:, None])
        weights -= np.linalg.solve(curve + 1e-4 * np.eye(len(weights)), gradient)
    scaled = weights[:-1] / spread
    return float(weights[-1] - scaled @ mean), scaled


def cross_fit(outcomes: list[Outcome]) -> list[tuple[Outcome, float]]:
    """Confidence of each outcome from a fit on the other half of the voices."""
    voices = sorted({outcome.clip.voice for outcome in outcomes})
    side = {voice: number % 2 for number, voice in enumerate(voices)}
    scored = []
    for fold in (0, 1):
        bias, weights = fit([o for o in outcomes if side[o.clip.voice] != fold])
        for outcome in outcomes:
            if side[outcome.clip.voice] == fold:
                logit = -50.0
                if outcome.found.features is not None:
                    logit = bias + float(outcome.found.features @ weights)
                scored.append((outcome, 1 / (1 + np.exp(-logit))))
    return scored


def _to_pcm(sound: npt.NDArray[np.float32]) -> Pcm:
    return np.asarray(np.clip(sound, -1, 1) * 32767, np.int16)


def _show(rows: list[Row], console: Console) -> None:
    table = Table(title="Commands, embedded engine, home of 60 entities")
    for column in (
        "subset", "clips", "min", "right", "wrong", "on/off", "false/h",
        "× real time", "p50 ms", "p95 ms",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "subset" else "right")
    for row in rows:
        table.add_row(
            row.subset,
            str(row.clips),
            f"{row.seconds / 60:.1f}",
            f"{row.right / row.clips:.1%}" if row.accepted_per_hour is None else "",
            f"{row.wrong} ({row.wrong / row.clips:.1%})",
            str(row.on_off),
            "" if row.accepted_per_hour is None else f"{row.accepted_per_hour:.1f}",
            f"{row.real_time:.2f}",
            f"{row.p50_ms:.0f}",
            f"{row.p95_ms:.0f}",
        )
    console.print(table)


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fit_constants: Annotated[
        bool, typer.Option("--fit", help="Fit the confidence's constants.")
    ] = False,
    by_phones: Annotated[
        bool, typer.Option("--phonetic", help="Measure pocketsphinx.")
    ] = False,
    every: Annotated[
        int, typer.Option(help="Take one clip in so many, for a quick look.")
    ] = 1,
) -> None:
    """Measure acceptance, intents, on against off, false accepts and speed."""
    console = Console(stderr=as_json)
    home = family_home()
    agent = Reading(home)
    clips = [*recorded(agent), *synthesised()][::every]
    commands = [clip for clip in clips if clip.label]
    clips = [*uttered(clips), *uttered(commands, 20), *uttered(commands, 12)]
    compiled = compile_home(home)
    look: Callable[[Pcm], Found]
    if by_phones:
        look = partial(phonetic_look, GrammarDecoder(compiled))
    elif (weights := moonshine.weights()) is not None:
        look = partial(writing_look, WritingEar(moonshine.load(weights), compiled))
    else:
        raise typer.BadParameter("moonshine-voice is not installed: take --phonetic")
    outcomes = hear(
        track(clips, "Listening", console=console, disable=as_json), look, agent
    )
    subsets: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        subsets.setdefault(outcome.clip.subset, []).append(outcome)
    rows = [summarise(group) for group in subsets.values()]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        _show(rows, console)
    if fit_constants:
        _show_fit(outcomes, console)


def _show_fit(outcomes: list[Outcome], console: Console) -> None:
    bias, weights = fit(outcomes)
    console.print(f"_BIAS = {bias:.3f}")
    console.print(f"_WEIGHTS = ({', '.join(f'{weight:.3f}' for weight in weights)})")
    table = Table(title="Held-out voices: share accepted at a confidence")
    table.add_column("subset")
    levels = (0.3, 0.5, 0.7, 0.8, 0.9)
    for level in levels:
        table.add_column(f"≥ {level}", justify="right")
    groups: dict[str, list[float]] = {}
    for outcome, confidence in cross_fit(outcomes):
        fits = " right" if outcome.fits else " wrong"
        kind = "" if outcome.meant is None else fits
        groups.setdefault(outcome.clip.subset + kind, []).append(confidence)
    for name, found in sorted(groups.items()):
        shares = (f"{np.mean(np.array(found) >= level):.1%}" for level in levels)
        table.add_row(f"{name} ({len(found)})", *shares)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
