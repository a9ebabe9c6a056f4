"""Commands are heard, everything else is rejected, on is never off."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from importlib.metadata import version
from pathlib import Path
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.spoken import say
from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm, Recognition, Vocabulary
from model_server.engines.embedded import phonetic
from model_server.engines.embedded.cleaning import clean
from model_server.engines.embedded.home import compile_home
from model_server.engines.embedded.rejection import Evidence
from model_server.engines.embedded.sentences import AGREEING, DECLINING
from model_server.engines.embedded.speech import EmbeddedRecognizer
from model_server.evaluation import synthesis
from model_server.evaluation.reading import Reading
from model_server.listen.endpoint import Utterance, pause_of
from model_server.listen.listener import Listener, transcribe
from tests.server.homes import family_home, lamp_home
from tests.server.recordings import DATA, needs_recordings
from tests.server.voices import silence

SLT = "flite:slt"
RMS = "flite:rms"
ESPEAK = "espeak-ng:en-us"


@pytest.fixture(scope="module", params=["moonshine", "pocketsphinx"])
def recognizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddedRecognizer:
    """A recogniser that knows the family home."""
    engine = EmbeddedRecognizer(
        tmp_path_factory.mktemp("grammars"), phonetic=request.param == "pocketsphinx"
    )
    engine.set_vocabulary(family_home())
    return engine


@pytest.fixture
def judging(recognizer: EmbeddedRecognizer) -> ModuleType:
    """Where it is decided what is accepted."""
    return sys.modules[type(recognizer._ear).__module__]


def stream(recognizer: EmbeddedRecognizer, pcm: Pcm) -> Iterator[Recognition]:
    """Yield what is recognised in a microphone's stream, as its lane does it."""
    listener = Listener(recognizer, "en", max_utterance_s=15.0)
    for start in range(0, pcm.size + 1, 320):
        events = listener.push(pcm[start : start + 320])
        while pause := pause_of(events):
            perhaps = recognizer.foresee(pause.pcm)
            events = [*events[:-1], *listener.resume(perhaps)]
        if (ahead := listener.ahead()) is not None:
            recognizer.foresee(ahead)
        if start + 320 > pcm.size:
            events += listener.finish()
        for event in events:
            if isinstance(event, Utterance):
                yield listener.recognize(event)


@pytest.fixture(scope="module")
def agent() -> Reading:
    """Home Assistant's reading of sentences in the family home."""
    return Reading(family_home())


@pytest.mark.parametrize(
    ("text", "voice"),
    [
        ("turn on the kitchen lights", SLT),
        ("turn off the kitchen lights", SLT),
        ("set the kitchen lights to blue", RMS),
        ("set a timer for 10 minutes", SLT),
        ("open the garage door", RMS),
        ("turn on the kitchen lights", ESPEAK),
        ("turn off the kitchen lights", ESPEAK),
        ("add milk to my shopping list", SLT),
        ("put toilet paper on the shopping list", RMS),
        ("what is on my shopping list", SLT),
        ("pause the music", SLT),
    ],
)
def test_a_command_is_heard(
    recognizer: EmbeddedRecognizer,
    judging: ModuleType,
    agent: Reading,
    text: str,
    voice: str,
) -> None:
    heard = recognizer.recognize(say(text, voice), "en")
    assert heard.rejected is None
    assert agent.read(heard.text) == agent.read(text)
    assert judging.ACCEPTED <= heard.confidence <= 1


@pytest.mark.parametrize("voice", [SLT, RMS, ESPEAK])
@pytest.mark.parametrize(
    "text", [*AGREEING, "no please", "no thank you", "cancel that"]
)
def test_an_answer_is_heard(
    recognizer: EmbeddedRecognizer, text: str, voice: str
) -> None:
    heard = recognizer.recognize(say(text, voice), "en").text
    # Whoever is not heard has declined, too.
    assert heard == text or (heard, text) == ("", "cancel that")


@pytest.mark.parametrize("voice", [SLT, RMS, ESPEAK])
@pytest.mark.parametrize(
    "text",
    [
        *(*DECLINING, "no", "no do not do it", "do not do it please", "cancel", "stop"),
        *("no go ahead without me", "no not that please", "no don't go ahead"),
        *("i guess he did it please", "let us go ahead", "would you please"),
    ],
)
def test_nobody_agrees_who_declines_or_talks(
    recognizer: EmbeddedRecognizer, text: str, voice: str
) -> None:
    assert recognizer.recognize(say(text, voice), "en").text not in AGREEING


@pytest.mark.parametrize("voice", [SLT, RMS, ESPEAK])
@pytest.mark.parametrize(
    "text",
    [
        "I was thinking about going to the lake this weekend",
        "the football game starts at seven",
        "thank you very much",
    ],
)
def test_talk_is_no_command(
    recognizer: EmbeddedRecognizer, judging: ModuleType, text: str, voice: str
) -> None:
    heard = recognizer.recognize(say(text, voice), "en")
    assert heard == Recognition("", heard.confidence, rejected="no_command")
    assert heard.confidence < judging.ACCEPTED


@pytest.mark.parametrize("voice", [SLT, RMS, ESPEAK])
@pytest.mark.parametrize(
    "sentence",
    ["turn {} the tv", "turn the bed light {}", "switch {} the coffee machine"],
)
def test_on_is_never_off(
    recognizer: EmbeddedRecognizer, agent: Reading, sentence: str, voice: str
) -> None:
    for said, opposite in (("on", "off"), ("off", "on")):
        heard = recognizer.recognize(say(sentence.format(said), voice), "en")
        meaning = agent.read(heard.text) if heard.text else None
        assert meaning != agent.read(sentence.format(opposite))


def at_home(spoken: Pcm, at: int) -> Pcm:
    """Lay an utterance over a household's noise, 3 s and some samples after its start."""
    noise = synthesis.noise(8.0, "pink", seed=1)
    sound = noise * (0.002 / np.std(noise))
    start = 3 * SAMPLE_RATE + at
    sound[start : start + spoken.size] += spoken / 32768
    return np.asarray(np.clip(sound, -1, 1) * 32767, np.int16)


@pytest.mark.parametrize("voice", [SLT, RMS, "flite:kal16", ESPEAK])
@pytest.mark.parametrize("word", ["lock", "unlock"])
def test_no_first_syllable_is_lost(
    recognizer: EmbeddedRecognizer, word: str, voice: str
) -> None:
    spoken = say(f"{word} the front door", voice)
    heard = [
        recognition.text
        for at in range(0, SAMPLE_RATE // 2, 1234)
        for recognition in stream(recognizer, at_home(spoken, at))
    ]
    opposite = {"lock": "unlock", "unlock": "lock"}[word]
    assert f"{opposite} the front door" not in heard
    # This voice's words sound like others, so they are asked for again.
    unclear = {("lock", RMS)}
    if recognizer.info.version == version("moonshine-voice"):
        unclear |= {("unlock", RMS)}
    if (word, voice) not in unclear:
        assert set(heard) == {f"{word} the front door"}


def test_right_after_an_area_only_what_is_in_it_can_be_said() -> None:
    home = compile_home(family_home())

    def sayable(sentence: str) -> bool:
        states = {0}
        for word in sentence.split():
            states = {
                target
                for source, target, said in home.grammar.arcs
                if source in states and said == word
            }
        return not states.isdisjoint(home.grammar.accepting)

    assert sayable("turn off the kitchen lights")
    assert sayable("turn off the kitchen lights in the kitchen")
    assert sayable("turn off the hallway lamp in the kitchen")
    assert sayable("turn off the hallway hallway lamp")
    assert not sayable("turn off hallway the kitchen lights")
    # Nobody said where it is.
    assert sayable("turn off the hallway basement light")
    assert sayable("turn off all of the kitchen lights")


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 400, 3200, 32_000])
def test_silence_of_any_length_is_silence(
    recognizer: EmbeddedRecognizer, samples: int
) -> None:
    heard = recognizer.recognize(np.zeros(samples, np.int16), "en")
    assert heard == Recognition("", 0.0, rejected="silence")


@pytest.mark.parametrize(
    "sound",
    [
        np.random.default_rng(1).integers(-8000, 8000, 48_000).astype(np.int16),
        np.full(16_000, 32_767, np.int16),
        np.where(np.arange(32_000) // 8 % 2, 20_000, -20_000).astype(np.int16),
    ],
    ids=["noise", "constant", "square wave"],
)
def test_no_sound_becomes_a_command(recognizer: EmbeddedRecognizer, sound: Pcm) -> None:
    heard = recognizer.recognize(sound, "en")
    assert heard.text == ""
    assert heard.rejected in ("silence", "no_command")


def test_a_piece_of_a_word_is_no_command(recognizer: EmbeddedRecognizer) -> None:
    spoken = say("turn on the kitchen lights", SLT)
    heard = recognizer.recognize(spoken[6400:9600], "en")
    assert heard.text == ""


def test_the_same_audio_is_heard_the_same_way(recognizer: EmbeddedRecognizer) -> None:
    spoken = say("turn on the kitchen lights", SLT)
    once = recognizer.recognize(spoken, "en")
    recognizer.recognize(say("what time is it", RMS), "en")
    assert recognizer.recognize(spoken, "en") == once


def test_only_english_is_spoken(recognizer: EmbeddedRecognizer) -> None:
    with pytest.raises(ValueError, match="English only, not 'de'"):
        recognizer.recognize(np.zeros(16_000, np.int16), "de")
    with pytest.raises(ValueError, match="English only, not 'fr'"):
        recognizer.set_vocabulary(Vocabulary(language="fr"))
    assert recognizer.recognize(np.zeros(9, np.int16), "en-GB").rejected == "silence"


def test_a_new_vocabulary_takes_the_old_ones_place(tmp_path: Path) -> None:
    engine = EmbeddedRecognizer(tmp_path)
    spoken = say("turn on the kitchen light", SLT)
    assert engine.recognize(spoken, "en").text == ""
    report = engine.set_vocabulary(lamp_home())
    assert engine.recognize(spoken, "en").text == "turn on the kitchen light"
    assert report.sentences > 1000
    assert report.words > 100
    assert report.seconds > 0
    assert engine.set_vocabulary(lamp_home()).version == report.version
    engine.set_vocabulary(Vocabulary())
    assert engine.recognize(spoken, "en").text == ""


def test_the_report_lists_the_words_it_had_to_guess(
    recognizer: EmbeddedRecognizer,
) -> None:
    report = recognizer.set_vocabulary(family_home())
    assert {"ecobee", "sonos"} <= set(report.guessed)
    assert "kitchen" not in report.guessed


def test_names_with_odd_signs_are_heard_and_spelled_as_in_the_home(
    tmp_path: Path,
) -> None:
    lamp = lamp_home()
    engine = EmbeddedRecognizer(tmp_path)
    engine.set_vocabulary(
        Vocabulary(
            entities=(
                type(lamp.entities[0])("light.x", "light", ("Bedroom (Window) & Co",)),
            )
        )
    )
    heard = engine.recognize(say("turn on bedroom window and co", SLT), "en")
    assert heard.text == "turn on bedroom (window) & co"


def test_an_utterance_is_heard_while_a_vocabulary_compiles(
    recognizer: EmbeddedRecognizer,
) -> None:
    spoken = say("turn on the kitchen lights", SLT)
    expected = recognizer.recognize(spoken, "en")
    failures: list[Exception] = []

    def change() -> None:
        try:
            for _ in range(3):
                recognizer.set_vocabulary(family_home())
        except Exception as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    changing = threading.Thread(target=change)
    changing.start()
    heard = [recognizer.recognize(spoken, "en") for _ in range(5)]
    changing.join()
    assert failures == []
    assert heard == [expected] * 5


def recordings(subset: str, part: str = "") -> Iterator[tuple[str, Pcm]]:
    """Yield (label, audio) of the recordings beside the checkout."""
    rows = csv.DictReader((DATA / "MANIFEST.csv").open(encoding="utf-8"))
    for row in rows:
        if row["subset"] == subset and part in row["file"]:
            pcm, _ = soundfile.read(DATA / row["file"], dtype="int16")
            yield row["label"], pcm


@needs_recordings
def test_recorded_commands_are_heard_and_never_reversed(
    recognizer: EmbeddedRecognizer, agent: Reading
) -> None:
    pair = {"HassTurnOn", "HassTurnOff"}
    right = total = 0
    for label, pcm in [
        *recordings("commands-real"),
        *recordings("commands-tts", "/en/turn"),
    ]:
        meant = agent.read(label)
        if meant is None:
            continue
        total += 1
        text = transcribe(recognizer, pcm, "en").recognition.text
        heard = agent.read(text) if text else None
        right += heard == meant
        if heard:
            assert {heard[0], meant[0]} != pair, label
    assert right / total > 0.6


@needs_recordings
def test_recorded_talk_is_no_command(recognizer: EmbeddedRecognizer) -> None:
    clips = [pcm for _, pcm in recordings("speech-negative")][::16]
    accepted = sum(bool(recognizer.recognize(pcm, "en").text) for pcm in clips)
    assert len(clips) == 50
    assert accepted <= 1


def test_who_asked_to_be_heard_is_understood_sooner(
    recognizer: EmbeddedRecognizer,
    judging: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = say("turn on the kitchen lights", SLT)
    sure = recognizer.recognize(spoken, "en").confidence
    # Between the two thresholds whoever says it.
    monkeypatch.setattr(judging, "ACCEPTED", 1.0)
    monkeypatch.setattr(judging, "POSSIBLE", sure - 0.1)
    overheard = recognizer.recognize(spoken, "en")
    assert (overheard.text, overheard.rejected) == ("", "no_command")
    asked = transcribe(recognizer, spoken, "en").recognition
    assert (asked.text, asked.rejected) == ("turn on the kitchen lights", None)
    assert asked.confidence == overheard.alternatives[0].confidence < 1
    monkeypatch.setattr(judging, "POSSIBLE", 1.0)
    assert transcribe(recognizer, spoken, "en").recognition.rejected == "no_command"


def test_what_was_recognised_in_the_pause_is_not_recognised_again(
    recognizer: EmbeddedRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = at_home(say("turn on the kitchen lights", SLT), 0)
    looked: list[int] = []

    def look(*args: Any) -> Recognition:
        looked.append(1)
        return original(*args)

    ear = type(recognizer._ear)
    original = ear.recognize
    monkeypatch.setattr(ear, "recognize", look)
    heard = [one.text for one in stream(recognizer, spoken)]
    assert heard == ["turn on the kitchen lights"]
    # The pause was long enough to look at it, and nobody went on.
    assert looked == [1]
    # Another home, another answer.
    recognizer.set_vocabulary(lamp_home())
    recognizer.recognize(spoken, "en")
    assert looked == [1, 1]
    recognizer.set_vocabulary(family_home())


def test_long_talk_is_not_worked_ahead_on(
    recognizer: EmbeddedRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(recognizer._ear), "recognize", None)
    recognizer.foresee(np.zeros(7 * SAMPLE_RATE, np.int16))


def test_noise_is_taken_out_of_what_is_noisy_only() -> None:
    said = np.concatenate(
        [silence(0.65), say("turn on the bed light", SLT), silence(0.25)]
    )
    assert clean(said) is said
    hiss = np.random.default_rng(0).normal(0, 1500, said.size)
    noisy = np.clip(said + hiss, -32768, 32767).astype(np.int16)
    cleaned = clean(noisy)
    assert cleaned.shape == noisy.shape

    def level(pcm: Pcm) -> float:
        return float(np.sqrt(np.mean(pcm[: SAMPLE_RATE // 2].astype(float) ** 2)))

    assert level(cleaned) < level(noisy) / 2
    assert np.array_equal(clean(noisy), cleaned)
    nothing = np.zeros(0, np.int16)
    assert clean(nothing) is nothing


def test_in_noise_a_less_sure_command_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phonetic, "confidence", lambda _: 0.75)
    evidence = Evidence(-1.0, -2.0, -6.0, -1.0, 15.0, 1.5, 5)
    text = "turn on the bed light"
    assert phonetic.judge(phonetic.Finding(text, evidence, noisy=True)).text == text
    quiet = phonetic.judge(phonetic.Finding(text, evidence, noisy=False))
    assert quiet.rejected == "no_command"
    assert [one.text for one in quiet.alternatives] == [text]
