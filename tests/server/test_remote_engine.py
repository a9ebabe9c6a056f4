"""The remote engines: what they ask, and what they believe of the answer."""

from __future__ import annotations

from collections.abc import Iterator
import json
import math
from typing import Any

import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.build import Builder
from model_server.engines.base import (
    CUT,
    EngineError,
    Intent,
    Recognition,
    UnusableRequestError,
)
from model_server.engines.remote import MAX_SECONDS, RemoteEngine
from model_server.engines.remote_answers import CONFIDENCE
from model_server.engines.remote_chat import FAILED_CALLS
from model_server.settings import RemoteSettings, Settings
from tests.server.homes import lamp_home
from tests.server.scripted_chat import ScriptedChat, unique
from tests.server.voices import say, silence

TURN_ON = {
    "text": "turn on the kitchen light",
    "intent": {"name": "HassTurnOn", "slots": {"name": "Kitchen Light"}},
}


def spoken() -> Pcm:
    """A command with the margins of the endpointer."""
    return np.concatenate(
        [silence(0.5), say("turn on the kitchen light"), silence(0.2)]
    )


def engine(chat: ScriptedChat, *deeds: list[Any], **more: Any) -> RemoteEngine:
    """An engine whose server does this."""
    model = unique(*deeds)
    return RemoteEngine(RemoteSettings(url=chat.url, model=model, **more))


def asked(chat: ScriptedChat, engine: RemoteEngine) -> dict[str, Any]:
    """The one request that the server got."""
    (request,) = chat.seen(engine.recognizer.info.version)
    body: dict[str, Any] = request["body"]
    return body


def pieces(answer: object) -> list[Any]:
    """A deed: this answer as JSON, in two pieces."""
    text = json.dumps(answer)
    return ["answer", [text[:9], text[9:]]]


def understood(chat: ScriptedChat, answer: object) -> Recognition:
    """What becomes of a model's answer about a command in a home with a lamp."""
    remote = engine(chat, pieces(answer))
    remote.recognizer.set_vocabulary(lamp_home())
    return remote.recognizer.recognize(spoken(), "en")


@pytest.mark.parametrize(
    ("language", "tag"), [("en", "en"), ("en-GB", "en"), ("zh_CN", "zh"), ("th", "th")]
)
def test_without_a_vocabulary_the_models_own_words_ask_for_a_transcription(
    chat: ScriptedChat, language: str, tag: str
) -> None:
    remote = engine(chat, ["answer", ["hello ", "there"]])
    said = remote.recognizer.recognize(spoken(), language)

    assert said == Recognition("hello there", CONFIDENCE)
    body = asked(chat, remote)
    assert body["messages"][0]["content"][1]["text"] == (
        f"Transcribe the speech into text <|{tag}|>"
    )
    assert "response_format" not in body


def test_with_a_vocabulary_one_question_brings_words_and_intent(
    chat: ScriptedChat,
) -> None:
    remote = engine(chat, pieces(TURN_ON))
    report = remote.recognizer.set_vocabulary(lamp_home())
    said = remote.recognizer.recognize(spoken(), "en")

    assert said.text == "turn on the kitchen light"
    assert said.intent == Intent("HassTurnOn", {"name": "Kitchen Light"})
    assert report.words == 2
    body = asked(chat, remote)
    assert "Kitchen Light" in body["messages"][0]["content"][1]["text"]
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["light"] == {"enum": ["Kitchen Light"]}


def test_the_version_of_a_vocabulary_is_that_of_its_content(chat: ScriptedChat) -> None:
    recognizer = engine(chat).recognizer
    first, again, other = (
        recognizer.set_vocabulary(home).version
        for home in (lamp_home(), lamp_home(), type(lamp_home())())
    )
    assert first == again != other


def test_another_language_than_the_homes_is_written_down_and_not_understood(
    chat: ScriptedChat,
) -> None:
    remote = engine(chat, ["answer", ["打开灯"]])
    remote.recognizer.set_vocabulary(lamp_home())

    assert remote.recognizer.recognize(spoken(), "zh").text == "打开灯"
    assert "response_format" not in asked(chat, remote)


def test_a_language_that_the_model_does_not_speak_is_refused(
    chat: ScriptedChat,
) -> None:
    recognizer = engine(chat).recognizer
    home = type(lamp_home())(language="de")

    with pytest.raises(ValueError, match="not 'de'"):
        recognizer.set_vocabulary(home)
    with pytest.raises(ValueError, match="not 'de-AT'"):
        recognizer.recognize(spoken(), "de-AT")


@pytest.mark.parametrize("pcm", [silence(2), silence(0), np.full(32_000, 3, np.int16)])
def test_silence_is_not_sent(chat: ScriptedChat, pcm: Pcm) -> None:
    remote = engine(chat, ["answer", ["thank you for watching"]])

    assert remote.recognizer.recognize(pcm, "en").rejected == "silence"
    assert chat.seen(remote.recognizer.info.version) == []


@pytest.mark.parametrize("answer", ["", "  \n", "<|en|>", "\u202e\x00"])
def test_a_model_that_heard_no_words_heard_silence(
    chat: ScriptedChat, answer: str
) -> None:
    said = engine(chat, ["answer", [answer]]).recognizer.recognize(spoken(), "en")

    assert said == Recognition("", 0.0, rejected="silence")


def test_a_text_is_cleaned_of_what_controls_a_screen(chat: ScriptedChat) -> None:
    answer = "<|en|>turn\x1b[2J on\u202e the\n\nlight\x00"
    said = engine(chat, ["answer", [answer]]).recognizer.recognize(spoken(), "en")

    assert said.text == "turn [2J on the light"


def test_confidence_is_the_mean_probability_of_the_tokens(chat: ScriptedChat) -> None:
    deed = ["answer", ["turn", " on"], [-0.2, -0.4]]
    said = engine(chat, deed).recognizer.recognize(spoken(), "en")

    assert said.confidence == pytest.approx(math.exp(-0.3))


def test_confidence_of_a_command_is_that_of_its_words_not_of_the_json(
    chat: ScriptedChat,
) -> None:
    tokens = ['{"text": "', "turn", " on", '", "intent":', " null}"]
    remote = engine(chat, ["answer", tokens, [-9.0, -0.2, -0.4, -9.0, -9.0]])
    remote.recognizer.set_vocabulary(lamp_home())

    said = remote.recognizer.recognize(spoken(), "en")
    assert said.text == "turn on"
    assert said.confidence == pytest.approx(math.exp(-0.3))


@pytest.mark.parametrize(
    "intent",
    [
        None,
        "HassTurnOn",
        {"name": "HassTurnOn", "slots": {"name": "Front Door"}},
        {"name": "HassExplode", "slots": {}},
        {"name": "HassTurnOn", "slots": {"name": "Kitchen Light", "area": "Moon"}},
        {"name": "HassTurnOn", "slots": [["name", "Kitchen Light"]]},
        {**TURN_ON["intent"], "confirmed": True},  # type: ignore[dict-item]
    ],
)
def test_an_intent_that_does_not_fit_the_home_leaves_the_words(
    chat: ScriptedChat, intent: object
) -> None:
    said = understood(chat, {"text": "turn it on", "intent": intent})

    assert (said.text, said.intent) == ("turn it on", None)


@pytest.mark.parametrize(
    "answer",
    [
        "turn on the light",
        {"intent": TURN_ON["intent"]},
        {"text": 7, "intent": None},
        {"text": "la " * 400, "intent": None},
        [TURN_ON],
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_an_error_without_its_words(
    chat: ScriptedChat, answer: object
) -> None:
    with pytest.raises(EngineError, match="something else than the JSON") as caught:
        understood(chat, answer)

    assert "turn" not in str(caught.value)


def test_more_words_than_anybody_can_say_are_not_believed(chat: ScriptedChat) -> None:
    deed = ["answer", ["thank you "] * 5, None, "length"]
    with pytest.raises(EngineError, match="more words than anybody says"):
        engine(chat, deed).recognizer.recognize(spoken(), "en")


def test_the_length_of_an_answer_is_bounded_by_that_of_the_speech(
    chat: ScriptedChat,
) -> None:
    for seconds, expected in ((1, 40), (10, 184)):
        remote = engine(chat, ["answer", ["yes"]])
        voice = np.resize(spoken(), seconds * SAMPLE_RATE)
        remote.recognizer.recognize(voice, "en")
        assert asked(chat, remote)["max_tokens"] == expected


@pytest.mark.parametrize(("logprob", "passed"), [(-0.3, True), (-0.9, False)])
def test_an_intent_of_words_that_are_not_sure_is_not_passed_on(
    chat: ScriptedChat, logprob: float, passed: bool
) -> None:
    remote = engine(chat, ["answer", [json.dumps(TURN_ON)], [logprob]])
    remote.recognizer.set_vocabulary(lamp_home())
    said = remote.recognizer.recognize(spoken(), "en")

    assert said.text == TURN_ON["text"]
    assert (said.intent is not None) is passed


@pytest.mark.parametrize(
    ("language", "text"), [("en", "one two three four"), ("zh", "onetwothreefour")]
)
def test_long_speech_is_asked_about_in_pieces(
    chat: ScriptedChat, language: str, text: str
) -> None:
    deeds = [["answer", [word]] for word in ("one", "two", "three", "four")]
    remote = engine(chat, *deeds)
    remote.recognizer.set_vocabulary(lamp_home())
    said = remote.recognizer.recognize(np.resize(spoken(), 70 * SAMPLE_RATE), language)

    assert said.text == text


def test_as_many_calls_run_at_once_as_the_settings_say(chat: ScriptedChat) -> None:
    remote = engine(chat, parallel=7)

    assert (remote.recognizer.parallel, remote.describer.parallel) == (7, 7)


def test_nothing_is_sent_ahead(chat: ScriptedChat) -> None:
    remote = engine(chat, ["answer", ["yes"]])
    remote.recognizer.foresee(spoken())

    assert chat.seen(remote.recognizer.info.version) == []


def describe(chat: ScriptedChat, deed: list[Any], **more: Any) -> Iterator[str]:
    """A description by a server that does this."""
    given = {"pcm": spoken(), "instruction": "What do you hear?"} | more
    return engine(chat, deed).describer.describe(**given)


def test_a_description_comes_in_its_pieces(chat: ScriptedChat) -> None:
    assert [*describe(chat, ["answer", ["a dog", " barks\n", "\x07twice"]])] == [
        "a dog",
        " barks\n",
        "twice",
    ]


def test_a_description_may_be_cut_at_its_length(chat: ScriptedChat) -> None:
    answer = describe(chat, ["answer", ["a dog"], None, "length"], max_tokens=2)

    assert next(answer) == "a dog"
    with pytest.raises(StopIteration) as end:
        next(answer)
    assert end.value.value == CUT


def test_closing_a_description_closes_its_connection(chat: ScriptedChat) -> None:
    remote = engine(chat, ["silence_after", ["a dog"]])
    answer = remote.describer.describe(spoken(), "What do you hear?")
    assert next(answer) == "a dog"
    answer.close()

    assert chat.was_left(remote.recognizer.info.version)


def test_a_description_that_breaks_off_is_an_error_after_what_came(
    chat: ScriptedChat,
) -> None:
    answer = describe(chat, ["reset", ["a dog"]])

    assert next(answer) == "a dog"
    with pytest.raises(EngineError, match="broke off"):
        next(answer)


def test_an_empty_description_is_an_error(chat: ScriptedChat) -> None:
    with pytest.raises(EngineError, match="empty answer"):
        list(describe(chat, ["answer", ["\x00"]]))


def test_what_looks_like_a_sign_of_the_model_is_sent_as_plain_text(
    chat: ScriptedChat,
) -> None:
    remote = engine(chat, ["answer", ["a dog"]])
    list(remote.describer.describe(spoken(), "Say <|im_end|> <|AUDIO|>"))

    text = asked(chat, remote)["messages"][0]["content"][1]["text"]
    assert text == "Say < |im_end|> < |AUDIO|>"


ANIMAL = {
    "type": "object",
    "properties": {"animal": {"enum": ["dog", "cat"]}},
    "required": ["animal"],
    "additionalProperties": False,
}


def test_an_answer_by_a_schema_comes_whole_and_is_valid(chat: ScriptedChat) -> None:
    deed = ["answer", ['{"animal"', ': "dog"}']]

    assert [*describe(chat, deed, schema=ANIMAL)] == ['{"animal": "dog"}']


@pytest.mark.parametrize(
    "answer", ['{"animal": "owl"}', '{"animal": "dog"', "a dog", "NaN", "[" * 3000]
)
def test_an_answer_that_does_not_follow_its_schema_never_arrives(
    chat: ScriptedChat, answer: str
) -> None:
    with pytest.raises(EngineError, match="did not follow the schema") as caught:
        list(describe(chat, ["answer", [answer]], schema=ANIMAL))

    assert not isinstance(caught.value, UnusableRequestError)


def test_json_that_was_cut_asks_for_more_tokens(chat: ScriptedChat) -> None:
    deed = ["answer", ['{"anim'], None, "length"]
    with pytest.raises(UnusableRequestError, match="3 tokens are not enough"):
        list(describe(chat, deed, schema=ANIMAL, max_tokens=3))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"instruction": " "}, "instruction is empty"),
        ({"pcm": silence(0)}, "has 0.0 s"),
        ({"pcm": silence(MAX_SECONDS + 1)}, "has 61.0 s: up to 60 s"),
        ({"schema": {"pattern": "(a+)+$"}}, "keyword 'pattern'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    chat: ScriptedChat, more: dict[str, Any], said: str
) -> None:
    remote = engine(chat, ["answer", ["yes"]])
    given = {"pcm": spoken(), "instruction": "What?"} | more
    with pytest.raises(UnusableRequestError, match=said):
        list(remote.describer.describe(**given))

    assert chat.seen(remote.recognizer.info.version) == []


def test_descriptions_that_fail_do_not_cost_commands(chat: ScriptedChat) -> None:
    remote = engine(chat, *[["end_early", []]] * FAILED_CALLS, ["answer", ["hello"]])
    for _ in range(FAILED_CALLS):
        with pytest.raises(EngineError):
            list(remote.describer.describe(spoken(), "What?"))
    with pytest.raises(EngineError, match="left alone"):
        list(remote.describer.describe(spoken(), "What?"))

    assert remote.recognizer.recognize(spoken(), "en").text == "hello"


def test_a_server_is_built_with_one_remote_engine_and_the_embedded_one_beside_it(
    chat: ScriptedChat, tmp_path: Any
) -> None:
    remote = {"url": chat.url, "model": unique(["answer", ["yes"]])}
    settings = Settings.model_validate(
        {
            "speech": "remote",
            "descriptions": "remote",
            "remote": remote,
            "data_dir": tmp_path,
        }
    )
    builder = Builder(settings)

    assert builder.recognizer().recognize(spoken(), "en").text == "yes"
    describer = builder.describer()
    assert describer is not None
    assert [*describer.describe(spoken(), "What?")] == ["yes"]
