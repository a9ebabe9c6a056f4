"""Messages of the protocol: what is read, what is ignored, what is refused."""

from datetime import UTC, datetime, timedelta
import json
from typing import Any

import pytest

from custom_components.earshot.client import (
    Alternative,
    Engine,
    Health,
    Info,
    Intent,
    InvalidMessage,
    Level,
    NotEarshot,
    ProtocolMismatch,
    Ready,
    Sound,
    Speech,
    Start,
    Stopped,
    StreamError,
    Transcript,
    VocabularyReport,
)
from custom_components.earshot.client.messages import parse

from .fake_server import ENGINE, LIMITS, default_info

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HEAD = {"id": "1", "time": "2026-11-22T12:00:00Z", "microphone": "kitchen"}
SOUND = HEAD | {
    "type": "sound",
    "state": "start",
    "label": "smoke",
    "score": 0.9,
    "threshold": 0.5,
    "scores": {"smoke": 0.9},
    "start": "2026-11-22T12:00:00+00:00",
    "end": None,
    "engine": ENGINE,
    "verified": True,
}
TRANSCRIPT = HEAD | {
    "type": "transcript",
    "text": "turn on the light",
    "confidence": 0.7,
    "alternatives": [{"text": "turn off the light", "confidence": 0.2}],
    "language": "en",
    "start": "2026-11-22T13:00:00+01:00",
    "end": "2026-11-22T12:00:01",
    "engine": ENGINE,
}


def test_a_sound_is_read() -> None:
    sound = parse(json.dumps(SOUND))
    assert sound == Sound(
        "1",
        NOON,
        "kitchen",
        state="start",
        label="smoke",
        score=0.9,
        threshold=0.5,
        start=NOON,
        engine=Engine("fake", "1"),
        verified=True,
        scores={"smoke": 0.9},
    )


def transcript(**changes: Any) -> Transcript:
    read = parse(json.dumps(TRANSCRIPT | changes))
    assert isinstance(read, Transcript)
    return read


def test_what_a_model_understood_is_read() -> None:
    meant = {"name": "HassLightSet", "slots": {"name": "lamp", "brightness": 30}}
    assert transcript(intent=meant).intent == Intent(
        "HassLightSet", {"name": "lamp", "brightness": 30}
    )
    assert transcript(intent={"name": "HassNevermind"}).intent == Intent(
        "HassNevermind", {}
    )
    assert transcript(intent=None).intent is None
    assert transcript().intent is None


@pytest.mark.parametrize(
    "intent",
    [
        "HassTurnOn",
        ["HassTurnOn"],
        1,
        {},
        {"slots": {}},
        {"name": None},
        {"name": ""},
        {"name": "a/b/#", "slots": {}},
        {"name": "Hass" + "x" * 64},
        {"name": "HassTurnOn", "slots": None},
        {"name": "HassTurnOn", "slots": ["name"]},
        {"name": "HassTurnOn", "slots": {"Name": "lamp"}},
        {"name": "HassTurnOn", "slots": {"a" * 65: "lamp"}},
        {"name": "HassTurnOn", "slots": {"name": None}},
        {"name": "HassTurnOn", "slots": {"name": ["lamp"]}},
        {"name": "HassTurnOn", "slots": {"name": {"value": "lamp"}}},
        {"name": "HassTurnOn", "slots": {"name": "a" * 201}},
        {"name": "HassTurnOn", "slots": {"name": "lamp\n"}},
        {"name": "HassTurnOn", "slots": {"name": "\u202elamp"}},
        {"name": "HassLightSet", "slots": {"brightness": True}},
        {"name": "HassLightSet", "slots": {"brightness": 0.5}},
        {"name": "HassTurnOn", "slots": {f"s{'a' * n}": "" for n in range(13)}},
    ],
)
def test_an_intent_that_cannot_be_one_does_not_cost_the_transcript(
    intent: object,
) -> None:
    read = transcript(intent=intent)
    assert read.intent is None
    assert read.text == "turn on the light"


def test_a_transcript_is_read_and_its_times_become_utc() -> None:
    transcript = parse(json.dumps(TRANSCRIPT))
    assert isinstance(transcript, Transcript)
    assert transcript.start == NOON
    assert transcript.end == NOON + timedelta(seconds=1)
    assert transcript.alternatives == (Alternative("turn off the light", 0.2),)
    assert transcript.rejected is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            HEAD | {"type": "speech", "state": "end"},
            Speech("1", NOON, "kitchen", "end"),
        ),
        (
            {
                "type": "level",
                "time": "2026-11-22T12:00:00Z",
                "microphone": "kitchen",
                "rms_dbfs": -40,
                "peak_dbfs": -20.5,
            },
            Level(NOON, "kitchen", -40.0, -20.5),
        ),
        (
            {
                "type": "health",
                "time": "2026-11-22T12:00:00Z",
                "microphone": "kitchen",
                "problems": ["silent", "dc"],
            },
            Health(NOON, "kitchen", ("silent", "dc")),
        ),
        ({"type": "stopped", "reason": "ended"}, Stopped("ended")),
    ],
)
def test_other_results_are_read(message: dict[str, Any], expected: object) -> None:
    assert parse(json.dumps(message)) == expected


def test_ready_and_error_are_read() -> None:
    ready = parse(
        json.dumps(
            {
                "type": "ready",
                "protocol": 1,
                "session": "s",
                "version": "1",
                "labels": ["smoke"],
                "limits": LIMITS,
            }
        )
    )
    assert isinstance(ready, Ready)
    assert ready.limits.max_message_bytes == 65536
    error = parse(json.dumps({"type": "error", "code": "idle", "message": "send"}))
    assert isinstance(error, StreamError)
    assert (error.code, error.message) == ("idle", "send")


def test_unknown_types_and_fields_are_ignored() -> None:
    assert parse(json.dumps({"type": "from_the_future", "x": 1})) is None
    assert parse(json.dumps(SOUND | {"novel": [1]})) == parse(json.dumps(SOUND))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": 1}, "id"),
        ({"time": "noon"}, "time"),
        ({"time": None}, "time"),
        ({"state": "middle"}, "state"),
        ({"label": "a/#"}, "label"),
        ({"score": 1.1}, "score"),
        ({"score": True}, "score"),
        ({"threshold": "high"}, "threshold"),
        ({"scores": [0.1]}, "scores"),
        ({"scores": {"smoke": 2}}, "smoke"),
        ({"verified": "yes"}, "verified"),
        ({"engine": "fake"}, "engine"),
        ({"engine": {"name": "fake"}}, "version"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidMessage, match=f"^{field}: "):
        parse(json.dumps(SOUND | change))


def test_wrong_lists_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="alternatives"):
        parse(json.dumps(TRANSCRIPT | {"alternatives": ["text"]}))
    with pytest.raises(InvalidMessage, match="labels"):
        parse(json.dumps({"type": "ready", "protocol": 1, "session": "s",
                          "version": "1", "labels": [1], "limits": LIMITS}))  # fmt: skip
    with pytest.raises(InvalidMessage, match="protocol"):
        parse(json.dumps({"type": "ready", "protocol": "1"}))


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "{}"])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        parse(text)


def test_a_start_frame_leaves_out_what_is_not_said() -> None:
    frame = json.loads(Start("kitchen", ("transcribe",)).encode())
    assert frame == {
        "type": "start",
        "protocol": 1,
        "microphone": "kitchen",
        "tasks": ["transcribe"],
        "language": "en",
    }
    frame = json.loads(Start("k", ("sounds",), "de", ("smoke",), NOON).encode())
    assert frame["labels"] == ["smoke"]
    assert frame["time"] == "2026-11-22T12:00:00+00:00"


def test_the_start_frame_is_what_the_server_reads() -> None:
    messages = pytest.importorskip("model_server.api.messages")
    start = messages.Start.model_validate_json(
        Start("kitchen", ("sounds", "commands"), "en", ("smoke",), NOON).encode()
    )
    assert start.tasks == ["sounds", "commands"]
    assert start.time == NOON


def test_info_is_read() -> None:
    info = Info.parse(json.dumps(default_info()))
    assert info.id == "installation-1"
    assert info.speech is not None
    assert info.speech.languages == ("en",)
    assert info.sounds is not None
    assert info.sounds.labels[0].device_class == "smoke"
    bare = Info.parse(json.dumps(default_info() | {"speech": None, "sounds": None}))
    assert bare.speech is None
    assert bare.sounds is None


def test_another_program_is_recognised() -> None:
    for answer in ("<html>", json.dumps({"name": "other"}), json.dumps([1])):
        with pytest.raises(NotEarshot):
            Info.parse(answer)
    with pytest.raises(NotEarshot, match="id"):
        Info.parse(json.dumps(default_info() | {"id": None}))


def test_another_protocol_says_both_versions() -> None:
    with pytest.raises(ProtocolMismatch, match="protocol 2, this client 1") as err:
        Info.parse(json.dumps({"name": "earshot", "protocol": 2}))
    assert (err.value.theirs, err.value.ours) == (2, 1)


def test_a_vocabulary_report_is_read() -> None:
    report = VocabularyReport.parse(
        '{"version": "v", "sentences": 3, "words": 2, "guessed": ["x"], "seconds": 1}'
    )
    assert report == VocabularyReport("v", 3, 2, ("x",), 1.0)
