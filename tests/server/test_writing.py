"""The network writes sentences of the home only, however it would spell them."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from benchmarks.spoken import say
from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Vocabulary, VocabularyEntity
from model_server.engines.embedded import moonshine, writing
from model_server.engines.embedded.home import compile_home
from model_server.engines.embedded.moonshine import FIRST, LAST
from model_server.engines.embedded.network import OPEN
from model_server.engines.embedded.phonetic import PhoneticEar
from model_server.engines.embedded.speech import EmbeddedRecognizer
from model_server.engines.embedded.spelling import Spelling, letters
from model_server.engines.embedded.writing import (
    Finding,
    Sentence,
    WritingEar,
    decide,
    judge,
)
from tests.server.homes import family_home, lamp_home
from tests.server.test_speech_recognizer import stream


@pytest.fixture(scope="module")
def model() -> moonshine.Moonshine:
    folder = moonshine.weights()
    assert folder is not None
    return moonshine.load(folder)


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    home = replace(
        family_home(),
        sentences=(
            *("open the café", "play radio 1.5 now", "call the 2nd floor"),
            *("remind me to {thing}", "tell {person} that {message} [now]"),
        ),
    )
    return Spelling(compile_home(home).grammar)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (" Turn on the kitchen lights.", "turn on the kitchen lights"),
        (" TURN ON the bedlight", "turn on the bed light"),
        (" Set the ceiling lamp to forty per cent", None),
        (" Set bed light brightness to 40%", "set bed light brightness to 40 percent"),
        (" Set a timer for forty-five minutes", "set a timer for 45 minutes"),
        (" Whats the time?", "what's the time"),
        (" Open the cafe", "open the café"),
        (" Call the second floor", "call the 2nd floor"),
        (" Turn on", None),
        (" Tell me a joke", None),
    ],
)
def test_a_sentence_may_be_spelled_in_several_ways(
    spelling: Spelling, written: str, words: str | None
) -> None:
    found = spelling.whole(spelling.go(spelling.begin, letters(written)))
    assert found == (tuple(words.split()) if words else None)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (" Remind me to feed the cat.", ("remind", "me", "to", f"{OPEN}feed the cat")),
        (" Remind me to", None),
        (" Remind me tofeed", None),
        (
            " Tell Anna that it's 50% off",
            ("tell", f"{OPEN}anna", "that", f"{OPEN}its 50 percent off"),
        ),
        (
            " Add oat cream to my shopping list",
            ("add", f"{OPEN}oat cream", "to", "my", "shopping", "list"),
        ),
        (" Add oat milk to my", None),
        (
            " Remind me to a b c d e f g h",
            ("remind", "me", "to", f"{OPEN}a b c d e f g h"),
        ),
        (" Remind me to a b c d e f g h i", None),
        (" Oat milk", None),
    ],
)
def test_any_words_may_stand_in_an_open_place(
    spelling: Spelling, written: str, words: tuple[str, ...] | None
) -> None:
    found = spelling.whole(spelling.go(spelling.begin, letters(written)))
    assert found == words


def test_known_words_count_before_any_words() -> None:
    home = replace(
        family_home(), media=("Jazz Radio",), sentences=("switch {thing}", "add {what}")
    )
    spelling = Spelling(compile_home(home).grammar)
    for said in (
        *("play jazz radio", "switch on the bed light"),
        *("add milk to my shopping list", "add milk to the shopping list please"),
    ):
        words = spelling.whole(spelling.go(spelling.begin, f" {said}"))
        assert words is not None
        if "please" not in said:
            assert words == tuple(said.split())
        begun = spelling.begun(spelling.go(spelling.begin, f" {said}"))
        assert begun == words
    assert spelling.begun(spelling.begin) is None


def test_only_what_may_follow_is_told(spelling: Spelling) -> None:
    begun = spelling.go(spelling.begin, " turn o")
    assert {"n", "f"} <= spelling.follows(begun)
    assert "x" not in spelling.follows(begun)
    for text in (begun, *(spelling.go(begun, rest) for rest in ("n", "n the bed l"))):
        for letter in "abcdefghijklmnopqrstuvwxyz ":
            goes = bool(spelling.go(text, letter))
            assert not goes or letter in spelling.follows(text)
    for open_ in (" remind me to ", " remind me to f", " tell x"):
        places = spelling.go(spelling.begin, open_)
        assert spelling.follows(places) >= {*"abcdefghijklmnopqrstuvwxyz0123456789 "}


def test_what_is_written_step_by_step_is_what_was_said(
    model: moonshine.Moonshine,
) -> None:
    writing = model.listen(say("turn on the kitchen lights", "flite:slt"))
    scores = writing.write([FIRST], [0])
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-3)
    text = ""
    while (token := int(scores[0].argmax())) != LAST:
        text += model.tokens[token] or ""
        # Two texts side by side are the same text twice.
        both = writing.write([token, token], [0, 0])
        assert np.allclose(both[0], both[1], atol=1e-4)
        scores = both
    assert letters(text).split() == ["turn", "on", "the", "kitchen", "lights"]


def test_tokens_are_read_whole(model: moonshine.Moonshine) -> None:
    assert len(model.tokens) == 32_768
    assert model.tokens[FIRST] == "<s>" and model.tokens[LAST] == "</s>"
    assert " kitchen" in model.tokens
    long = b"x" * 200
    assert moonshine._read_tokens(b"\x01a" + bytes([200, 1]) + long + b"\x01\xff") == (
        "a",
        "x" * 200,
        None,
    )


def test_without_the_weights_pocketsphinx_recognises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moonshine, "find_spec", lambda _: None)
    assert moonshine.weights() is None
    engine = EmbeddedRecognizer(tmp_path)
    assert isinstance(engine._ear, PhoneticEar)
    engine.set_vocabulary(lamp_home())
    heard = engine.recognize(say("turn on the kitchen light", "flite:slt"), "en")
    assert heard.text == "turn on the kitchen light"
    assert engine.info.version == version("pocketsphinx")


def test_a_package_without_weights_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(moonshine, "find_spec", lambda _: Spec)
    assert moonshine.weights() is None


def found(text: str, score: float = -1.0, opposed: float = 8.0) -> Finding:
    return Finding(Sentence(tuple(text.split()), 6, score), 8.0, opposed, 2.0)


def test_a_thin_margin_to_the_opposite_is_no_command() -> None:
    assert judge(found("turn on the lamp")).text == "turn on the lamp"
    for doubtful in (found("turn on the lamp", opposed=3.9), found("a b", -25.1)):
        heard = judge(doubtful)
        assert (heard.text, heard.rejected) == ("", "no_command")
        assert heard.alternatives == ()


def test_what_is_less_sure_may_have_been_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "confidence", lambda _: 0.45)
    heard = judge(found("turn on the lamp"))
    assert (heard.text, heard.rejected) == ("", "no_command")
    assert [one.text for one in heard.alternatives] == ["turn on the lamp"]


def test_what_fails_the_first_time_is_listened_to_again() -> None:
    bad, good = found("what time is it", -20.0), found("lock the door")
    assert decide([bad, good]) == judge(good)
    assert decide([bad, bad]) == judge(bad)
    assert decide([]).rejected == "no_command"


def test_of_open_words_only_the_others_speak() -> None:
    played = Finding(Sentence(("play", f"{OPEN}jazz"), 6, -1.0), 8.0, 8.0, 2.0)
    reminded = ("remind", "me", "to", f"{OPEN}lock the door")
    # "Play with your brother" is said every day; who asked to be heard means it.
    assert judge(played).rejected == "no_command"
    assert [one.text for one in judge(played).alternatives] == ["play jazz"]
    finding = Finding(Sentence(reminded, 6, -1.0), 8.0, 8.0, 2.0)
    assert judge(finding).text == "remind me to lock the door"


@pytest.mark.parametrize(
    "sentence",
    [
        "add gluten free pasta to my shopping list",
        "remind me to turn off the oven",
        "set a ten minute timer for the lasagna",
    ],
)
def test_words_that_nobody_told_are_written(
    model: moonshine.Moonshine, sentence: str
) -> None:
    home = replace(family_home(), sentences=("remind me to {thing}",))
    heard = WritingEar(model, compile_home(home)).recognize(say(sentence, "flite:slt"))
    assert heard.text == sentence.replace(" ten ", " 10 ")
    assert heard.rejected is None


def test_words_are_overheard_as_far_as_they_begin_a_command(
    model: moonshine.Moonshine, tmp_path: Path
) -> None:
    ear = WritingEar(model, compile_home(family_home()))
    command = say("what is the temperature in the bedroom", "flite:slt")
    talk = say("the football game starts at seven", "flite:slt")
    heard = [ear.overhear(command[: seconds * 8000]) for seconds in (1, 2, 3, 6)]
    assert heard == [
        *("", "what is", "what is the temperature"),
        "what is the temperature in the bedroom",
    ]
    assert ear.overhear(talk[:24_000]) == ear.overhear(np.resize(talk, 400_000)) == ""
    assert EmbeddedRecognizer(tmp_path, phonetic=True).overhear(command, "en") == ""


def test_a_name_with_an_opposite_word_asks_for_no_opposite_home(
    model: moonshine.Moonshine,
) -> None:
    lamp = lamp_home()
    named = VocabularyEntity("switch.lock", "switch", ("Lock Screen",))
    home = replace(lamp, entities=(*lamp.entities, named))
    ear = WritingEar(model, compile_home(home))
    heard = ear.recognize(say("turn on the lock screen", "flite:slt"))
    assert heard.text in ("turn on the lock screen", "turn on lock screen")


def crowded_home() -> Vocabulary:
    """Return a home with names within names, two of one name, and sentences of its own."""
    family = family_home()
    names = ("Twin", "Floor Lamp", "Floor Lamp Light", "Radio", "Washer & Dryer")
    more = tuple(
        VocabularyEntity(f"switch.{number}", "switch", (name,), "kitchen")
        for number, name in enumerate((*names, "Washer & Dryer Light"))
    )
    twin = VocabularyEntity("switch.twin", "switch", ("Twin",), "office")
    sentences = ("remind me to {thing}", "turn off the television after {hour}")
    return replace(
        family, entities=(*family.entities, *more, twin), sentences=sentences
    )


@pytest.fixture(scope="module")
def crowded(model: moonshine.Moonshine) -> WritingEar:
    return WritingEar(model, compile_home(crowded_home()))


@pytest.mark.parametrize(
    ("sentence", "final"),
    [
        ("turn on the bed light", True),
        ("turn on the coffee machine", True),
        ("what time is it", True),
        ("turn off the bedroom lights", True),
        ("set bed light brightness to 20 percent", True),
        # What may follow would change these: "five", which of the two, "light" of another
        # name, "in the kitchen", where alone it cleans, a time.
        ("set bed light brightness to 20", False),
        ("turn on the twin", False),
        ("turn on the floor lamp", False),
        ("turn on the radio", False),
        ("turn on the washer & dryer", False),
        ("turn off the lights", False),
        ("start rosie", False),
        ("turn off the television", False),
        ("set a timer for 10 minutes", False),
        ("open the garage door", False),
        ("remind me to feed the cat", False),
    ],
)
def test_what_more_words_would_change_is_not_final(
    crowded: WritingEar, sentence: str, final: bool
) -> None:
    assert crowded.is_final(sentence) is final


def test_in_sentences_of_the_homes_own_a_place_may_be_a_time(
    model: moonshine.Moonshine,
) -> None:
    home = replace(lamp_home(), sentences=("turn off the kitchen light at {hour}",))
    assert not WritingEar(model, compile_home(home)).is_final(
        "turn off the kitchen light"
    )
    assert WritingEar(model, compile_home(lamp_home())).is_final(
        "turn off the kitchen light"
    )


def test_a_short_pause_does_not_cut_off_what_changes_the_command(
    tmp_path: Path,
) -> None:
    recognizer = EmbeddedRecognizer(tmp_path)
    recognizer.set_vocabulary(crowded_home())
    quiet = np.zeros(SAMPLE_RATE, np.int16)
    pcm = [quiet]
    for text in ("set bed light brightness to twenty", "five percent"):
        said = say(text, "flite:slt")
        loud = np.flatnonzero(np.abs(said.astype(int)) > 300)
        pcm += [said[loud[0] : loud[-1]], quiet[: SAMPLE_RATE // 3]]
    heard = stream(recognizer, np.concatenate([*pcm, quiet]))
    assert [one.text for one in heard] == ["set bed light brightness to 25 percent"]


def test_what_turns_the_opposite_way_is_seen_wherever_it_stands() -> None:
    def opposed(one: str, other: str) -> bool:
        sentences = (Sentence(tuple(text.split()), 5, -1.0) for text in (one, other))
        return writing._opposed(*sentences)

    assert opposed("turn on the off grid heater", "turn off the off grid heater")
    assert opposed(f"switch {OPEN}on the lamp", f"switch {OPEN}off the lamp")
    assert not opposed("turn on the off grid heater", "turn on the heater")


def test_a_word_that_the_home_lacks_stops_nobody(model: moonshine.Moonshine) -> None:
    home = replace(
        lamp_home(), sentences=("activate lock mode", "activate {thing} mode")
    )
    ear = WritingEar(model, compile_home(home))
    for voice in ("flite:slt", "flite:kal16"):
        heard = ear.recognize(say("activate lock mode", voice))
        assert heard.text in ("", "activate lock mode")


def test_only_who_speaks_to_the_house_is_overheard(model: moonshine.Moonshine) -> None:
    home = replace(
        lamp_home(), sentences=("{thing} now please", "remind me to {thing}")
    )
    ear = WritingEar(model, compile_home(home))
    talk = say("my bank account number is twelve thirty four", "flite:slt")
    reminder = say("remind me to feed the cat", "flite:slt")
    assert ear.overhear(talk) == ""
    assert ear.overhear(reminder) == "remind me to feed the cat"


@pytest.mark.parametrize("mode", ["on", "off"])
def test_open_words_may_stand_beside_opposites(
    model: moonshine.Moonshine, mode: str
) -> None:
    home = replace(lamp_home(), sentences=("switch (on|off) {what} mode",))
    ear = WritingEar(model, compile_home(home))
    sentence = f"switch {mode} disco mode"
    for voice in ("flite:slt", "flite:rms", "espeak-ng:en-us"):
        heard = ear.recognize(say(sentence, voice)).text
        assert not heard or f"switch {mode} " in heard
    finding = Sentence(("switch", "on", f"{OPEN}disco", "mode"), 5, -1.0)
    other = replace(finding, words=("switch", "off", f"{OPEN}disco", "mode"))
    assert ear._ahead(finding, other, say(sentence, "flite:slt")) == 0.0


@pytest.mark.parametrize("seconds", [0.1, 5, 9.5, 11, 30])
def test_talk_of_any_length_is_no_command(
    model: moonshine.Moonshine, seconds: float
) -> None:
    ear = WritingEar(model, compile_home(lamp_home()))
    talk = np.resize(
        say("we talked about the lights", "flite:slt")[6400:-6400], 800_000
    )
    heard = ear.recognize(talk[: round(seconds * 16_000)])
    assert heard.text == ""


def test_silence_and_talk_are_told_apart(model: moonshine.Moonshine) -> None:
    ear = WritingEar(model, compile_home(lamp_home()))
    assert ear.recognize(np.zeros(16_000, np.int16)).rejected == "silence"
    talk = say("the football game starts at seven", "flite:slt")
    assert ear.recognize(talk).rejected == "no_command"
