"""While the better engine is away the other one hears."""

from __future__ import annotations

from dataclasses import dataclass, field
import logging
import threading

import numpy as np
import pytest

from model_server.engines.base import (
    EngineBusyError,
    EngineError,
    EngineInfo,
    Pcm,
    Recognition,
    SpeechRecognizer,
    Vocabulary,
    VocabularyReport,
)
from model_server.engines.fallback import FallbackRecognizer
from tests.server.homes import lamp_home
from tests.server.voices import say, silence


@dataclass
class Ear:
    """A recogniser whose health a test decides."""

    info: EngineInfo
    languages: tuple[str, ...] = ("en",)
    parallel: int = 4
    error: Exception | None = None
    homes: list[Vocabulary] = field(default_factory=list)
    foreseen: int = 0

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        self.homes.append(vocabulary)
        return VocabularyReport(self.info.name, 0, 0, (), 1.0)

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        if self.error is not None:
            raise self.error
        return Recognition(f"{self.info.name} heard {language}", 0.9)

    def foresee(self, pcm: Pcm) -> None:
        self.foreseen += 1


@pytest.fixture
def big() -> Ear:
    return Ear(EngineInfo("big", "7"), ("en", "zh"))


@pytest.fixture
def small() -> Ear:
    return Ear(EngineInfo("small", "1"), ("en", "de"), parallel=1)


@pytest.fixture
def both(big: Ear, small: Ear) -> FallbackRecognizer:
    return FallbackRecognizer(big, small)


NOTHING = silence(1)
AWAY = EngineError("The machine is off: switch it on.")


def test_the_first_engine_answers_and_is_the_author(
    both: FallbackRecognizer, big: Ear
) -> None:
    said = both.recognize(NOTHING, "en")

    assert said.text == "big heard en"
    assert said.engine is None
    assert (both.info, both.parallel) == (big.info, 4)


@pytest.mark.parametrize("error", [AWAY, EngineBusyError("busy: wait.")])
def test_while_it_cannot_answer_the_second_does_and_is_named(
    both: FallbackRecognizer, big: Ear, small: Ear, error: EngineError
) -> None:
    big.error = error
    said = both.recognize(NOTHING, "en-GB")

    assert said.text == "small heard en-GB"
    assert said.engine == small.info


def test_a_defect_of_the_first_engine_is_not_hidden(
    both: FallbackRecognizer, big: Ear
) -> None:
    big.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        both.recognize(NOTHING, "en")


def test_either_engines_languages_are_spoken(
    both: FallbackRecognizer, big: Ear, small: Ear
) -> None:
    assert both.languages == ("en", "zh", "de")
    assert both.recognize(NOTHING, "de").engine == small.info
    assert both.recognize(NOTHING, "zh-CN").engine is None

    big.error = AWAY
    with pytest.raises(EngineError, match="machine is off"):
        both.recognize(NOTHING, "zh")


def test_each_engine_gets_the_homes_whose_language_it_speaks(
    both: FallbackRecognizer, big: Ear, small: Ear
) -> None:
    homes = [Vocabulary(language=each) for each in ("en", "zh", "de-AT")]
    reports = [both.set_vocabulary(home) for home in homes]

    assert big.homes == homes[:2]
    assert small.homes == [homes[0], homes[2]]
    assert [report.version for report in reports[1:]] == ["big", "small"]
    assert reports[0].version not in {"big", "small"}
    assert reports[0].seconds == 2.0
    with pytest.raises(ValueError, match="No engine speaks 'fr'"):
        both.set_vocabulary(Vocabulary(language="fr"))


def test_the_report_is_that_of_the_engine_that_compiles_a_grammar(
    big: Ear, recognizer: SpeechRecognizer
) -> None:
    report = FallbackRecognizer(big, recognizer).set_vocabulary(lamp_home())

    assert report.sentences > 0


def test_a_change_is_logged_once_and_so_is_the_change_back(
    both: FallbackRecognizer, big: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for error in (None, AWAY, AWAY, None, None, AWAY):
        big.error = error
        both.recognize(NOTHING, "en")

    assert [record.getMessage() for record in caplog.records] == [
        "The small engine hears until this is over: The machine is off: switch it on.",
        "The big engine hears again",
        "The small engine hears until this is over: The machine is off: switch it on.",
    ]


def test_only_the_first_engine_works_ahead(
    both: FallbackRecognizer, big: Ear, small: Ear
) -> None:
    both.foresee(NOTHING)

    assert (big.foreseen, small.foreseen) == (1, 0)


def test_the_first_engine_that_knows_words_so_soon_tells_them() -> None:
    class Sharp(Ear):
        def overhear(self, pcm: Pcm, language: str) -> str:
            return self.info.name

    big = Ear(EngineInfo("big", "7"))
    small = Sharp(EngineInfo("small", "1"), parallel=1)
    assert FallbackRecognizer(big, small).overhear(NOTHING, "en") == "small"
    assert FallbackRecognizer(small, big).overhear(NOTHING, "en") == "small"
    assert FallbackRecognizer(big, big).overhear(NOTHING, "en") == ""
    busy = FallbackRecognizer(big, small)
    with busy._second:
        assert busy.overhear(NOTHING, "en") == ""
    assert busy.overhear(NOTHING, "en") == "small"


def test_the_second_engine_is_called_no_more_often_at_a_time_than_it_takes(
    big: Ear, recognizer: SpeechRecognizer
) -> None:
    big.error = AWAY
    inside: list[int] = []
    most: list[int] = []

    class Counting:
        """The embedded engine, counted."""

        info, languages, parallel = recognizer.info, recognizer.languages, 1
        set_vocabulary, foresee = recognizer.set_vocabulary, recognizer.foresee

        def recognize(self, pcm: Pcm, language: str) -> Recognition:
            inside.append(1)
            most.append(len(inside))
            try:
                return recognizer.recognize(pcm, language)
            finally:
                inside.pop()

    recognizer.set_vocabulary(lamp_home())
    both = FallbackRecognizer(big, Counting())
    heard: list[str] = []
    pcm = np.concatenate([silence(0.6), say("turn on the kitchen light"), silence(0.3)])
    threads = [
        threading.Thread(target=lambda: heard.append(both.recognize(pcm, "en").text))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1, 1]
    assert len(heard) == 2
    assert heard[0].startswith("turn on the kitchen light")
