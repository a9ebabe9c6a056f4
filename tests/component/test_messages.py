"""Messages of the protocol: what is read, what is ignored, what is refused."""

from datetime import UTC, datetime, timedelta
import json
from typing import Any

import pytest

from custom_components.earshot.client import (
    Alternative,
    Attend,
    Engine,
    Health,
    Info,
    Intent,
    InvalidMessage,
    Level,
    Listen,
    Listening,
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
from custom_components.earshot.profile_form import FIELDS

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


@pytest.mark.parametrize(
    ("level", "read"),
    [
        (-20, -20.0),
        (-33.5, -33.5),
        (None, None),
        ("loud", None),
        (True, None),
        (5, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_level_is_a_loudness_or_unknown(level: object, read: float | None) -> None:
    assert transcript(level_dbfs=level).level_dbfs == read
    assert transcript().level_dbfs is None


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


def sound(**changes: Any) -> Sound:
    read = parse(json.dumps(SOUND | changes))
    assert isinstance(read, Sound)
    return read


def test_the_evidence_of_a_sound_is_read() -> None:
    read = sound(
        state="sustained",
        windows=[0.25, 1, 0],
        gates=["not_silent", "k_of_n"],
        profile="night",
        description="A dog barks.",
        clip="01a204d0-1c3e-7a51-b0f4-5d1f0c9be7aa",
    )
    assert read.state == "sustained"
    assert read.windows == (0.25, 1.0, 0.0)
    assert read.gates == ("not_silent", "k_of_n")
    assert read.profile == "night"
    assert read.description == "A dog barks."
    assert read.clip == "01a204d0-1c3e-7a51-b0f4-5d1f0c9be7aa"


def test_a_server_without_evidence_is_understood() -> None:
    read = sound()
    assert (read.windows, read.gates) == ((), ())
    assert (read.profile, read.description, read.clip) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"windows": "many"}, ()),
        ({"windows": [0.1, 2]}, ()),
        ({"windows": [True]}, ()),
        ({"windows": [0.5] * 30}, (0.5,) * 20),
        ({"gates": "k_of_n"}, ()),
        ({"gates": ["from_the_future", 1, "a/#", None]}, ("from_the_future",)),
        ({"profile": "a/#"}, None),
        ({"profile": 1}, None),
        ({"clip": "../../etc"}, None),
        ({"description": ["text"]}, None),
        ({"description": " \n "}, None),
        ({"description": "a\n\u202eb  c"}, "a b c"),
        ({"description": "x" * 501}, "x" * 500),
    ],
)
def test_odd_evidence_does_not_cost_the_event(
    change: dict[str, Any], expected: object
) -> None:
    read = sound(**change)
    (name,) = change
    assert getattr(read, name) == expected
    assert read.label == "smoke"


def test_a_state_of_the_future_is_ignored() -> None:
    assert parse(json.dumps(SOUND | {"state": "faded"})) is None


def test_what_is_listened_for_is_read() -> None:
    message = {"type": "listening", "labels": ["bark"], "profile": "night"}
    assert parse(json.dumps(message | {"sensitivity": "high"})) == Listening(
        ("bark",), "night", "high"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": 1}, "id"),
        ({"time": "noon"}, "time"),
        ({"time": None}, "time"),
        ({"state": None}, "state"),
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
    rules = {"bark": {"sustain_s": 600}}
    frame = json.loads(
        Start(
            "k", ("sounds",), profile="night", sensitivity="high", rules=rules
        ).encode()
    )
    assert frame["profile"] == "night"
    assert frame["sensitivity"] == "high"
    assert frame["rules"] == rules


def test_a_listen_frame_says_everything() -> None:
    assert json.loads(Listen(("smoke",), "away").encode()) == {
        "type": "listen",
        "labels": ["smoke"],
        "profile": "away",
        "sensitivity": "normal",
        "rules": {},
        "wake": {},
    }
    assert json.loads(Attend(15).encode()) == {"type": "attend", "seconds": 15}


def test_the_start_frame_is_what_the_server_reads() -> None:
    messages = pytest.importorskip("model_server.api.messages")
    start = messages.Start.model_validate_json(
        Start("kitchen", ("sounds", "commands"), "en", ("smoke",), NOON).encode()
    )
    assert start.tasks == ["sounds", "commands"]
    assert start.time == NOON
    assert start.profile == "home"


def test_profiles_and_rules_are_what_the_server_reads() -> None:
    messages = pytest.importorskip("model_server.api.messages")
    limits = {name: (field.low, field.high) for name, field in FIELDS.items()}
    for number in range(2):
        rule = {name: between[number] for name, between in limits.items()}
        asked = Listen(("bark",), "night", "high", {"bark": rule})
        listen = messages.Listen.model_validate_json(asked.encode())
        assert (listen.labels, listen.profile) == (["bark"], "night")
        assert listen.rules["bark"].model_dump() == rule
        begun = Start(
            "k", ("sounds",), "en", ("bark",), NOON, "night", "high", {"bark": rule}
        )
        start = messages.Start.model_validate_json(begun.encode())
        assert (start.profile, start.sensitivity) == ("night", "high")
        assert start.rules == listen.rules


def test_what_wakes_and_who_is_attended_to_is_what_the_server_reads() -> None:
    messages = pytest.importorskip("model_server.api.messages")
    wake = {"okay_nabu": 0.9, "double_clap": None}
    asked = Listen(None, "home", wake=wake)
    assert messages.Listen.model_validate_json(asked.encode()).wake == wake
    begun = Start("k", ("commands",), wake=wake)
    assert messages.Start.model_validate_json(begun.encode()).wake == wake
    assert messages.Attend.model_validate_json(Attend(20).encode()).seconds == 20


def test_what_the_server_says_of_a_sound_is_read() -> None:
    messages = pytest.importorskip("model_server.api.messages")
    said = messages.Sound.model_validate(
        SOUND
        | {
            "state": "sustained",
            "windows": [0.5],
            "gates": ["not_silent", "on_threshold", "k_of_n", "cooldown", "rhythm"],
            "profile": "night",
            "description": "A dog barks.",
            "clip": "01a204d0-1c3e-7a51-b0f4-5d1f0c9be7aa",
        }
    )
    read = parse(said.model_dump_json())
    assert isinstance(read, Sound)
    for name in ("state", "profile", "description", "clip"):
        assert getattr(read, name) == getattr(said, name)
    assert (list(read.windows), list(read.gates)) == (said.windows, said.gates)


def test_info_is_read() -> None:
    info = Info.parse(json.dumps(default_info()))
    assert info.id == "installation-1"
    assert info.speech is not None
    assert info.speech.languages == ("en",)
    assert info.sounds is not None
    assert info.sounds.labels[0].device_class == "smoke"
    assert [label.sustain_s for label in info.sounds.labels] == [None, None, 600, None]
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
