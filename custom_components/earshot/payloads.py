"""What is published: results as JSON, and the topics below the base topic."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
import json
from typing import Any

from .client import Clip, Engine, Level, Partial, Result, Sound, Transcript, Wake
from .outcome import CommandOutcome
from .sentry import Sign

ONLINE = "online"
OFFLINE = "offline"


def sound_topic(microphone: str) -> str:
    """Return where sound events go."""
    return f"{microphone}/sound"


def sound_state_topic(microphone: str, label: str) -> str:
    """Return where a label's ON or OFF is kept."""
    return f"{microphone}/sound/{label}"


def clip_topic(microphone: str) -> str:
    """Return where it is said that a clip is kept."""
    return f"{microphone}/clip"


def gesture_topic(microphone: str) -> str:
    """Return where gestures go."""
    return f"{microphone}/gesture"


def wake_topic(microphone: str) -> str:
    """Return where wake words go."""
    return f"{microphone}/wake"


def guard_topic(microphone: str) -> str:
    """Return where it is told how far it has come around what a microphone guards."""
    return f"{microphone}/guard"


def timer_topic(microphone: str) -> str:
    """Return where it is told what became of timers."""
    return f"{microphone}/timer"


def partial_topic(microphone: str) -> str:
    """Return where words go while they are said."""
    return f"{microphone}/partial"


def transcript_topic(microphone: str) -> str:
    """Return where texts go."""
    return f"{microphone}/transcript"


def intent_topic(microphone: str) -> str:
    """Return where a microphone's commands go."""
    return f"{microphone}/intent"


def any_intent_topic(intent: str) -> str:
    """Return where executed commands of one kind go, from all microphones."""
    return f"intent/{intent}"


def level_topic(microphone: str) -> str:
    """Return where loudness goes."""
    return f"{microphone}/level"


def health_topic(microphone: str) -> str:
    """Return where it is kept what is wrong with a microphone."""
    return f"{microphone}/health"


def availability_topic(microphone: str) -> str:
    """Return where it is kept whether a microphone hears."""
    return f"{microphone}/availability"


STATUS_TOPIC = "status"
"""Where it is kept whether the integration runs."""


def sound_payload(sound: Sound) -> str:
    """Return a sound event's start or end, or that it lasts; with the evidence."""
    return json.dumps(
        _head(sound)
        | {
            "state": sound.state,
            "label": sound.label,
            "score": sound.score,
            "threshold": sound.threshold,
            "scores": sound.scores,
            "start": sound.start.isoformat(),
            "end": sound.end.isoformat() if sound.end else None,
            "verified": sound.verified,
            "description": sound.description,
            "clip": sound.clip,
            "engine": _engine(sound.engine),
            "windows": sound.windows,
            "gates": sound.gates,
            "profile": sound.profile,
        }
    )


def clip_payload(clip: Clip) -> str:
    """Return what was kept; `event` is the id of the sound event's own messages."""
    return json.dumps(
        _head(clip)
        | {
            "event": clip.event,
            "label": clip.label,
            "start": clip.start.isoformat(),
            "seconds": clip.seconds,
        }
    )


def gesture_payload(sound: Sound) -> str:
    """Return a gesture."""
    return json.dumps(_head(sound) | {"gesture": sound.label, "score": sound.score})


def wake_payload(wake: Wake) -> str:
    """Return a wake word, or a gesture that wakes."""
    return json.dumps(_head(wake) | {"word": wake.word, "score": wake.score})


def partial_payload(partial: Partial, text: str) -> str:
    """Return what was said so far; nothing once the utterance is over."""
    return json.dumps(_head(partial) | {"text": text})


def transcript_payload(transcript: Transcript) -> str:
    """Return what was said."""
    return json.dumps(
        _head(transcript)
        | {
            "text": transcript.text,
            "confidence": transcript.confidence,
            "language": transcript.language,
            "start": transcript.start.isoformat(),
            "end": transcript.end.isoformat(),
            "engine": _engine(transcript.engine),
            "level_dbfs": transcript.level_dbfs,
        }
    )


def intent_payload(transcript: Transcript, outcome: CommandOutcome) -> str:
    """Return what Home Assistant made of it; `refused` says why it did nothing."""
    return json.dumps(
        _head(transcript)
        | {
            "intent": outcome.intent,
            "slots": outcome.slots,
            "text": transcript.text,
            "confidence": transcript.confidence,
            "targets": outcome.targets,
            "response": outcome.response,
            "language": transcript.language,
            "refused": outcome.refused,
            "source": outcome.source,
        },
        default=str,
    )


def level_payload(level: Level) -> str:
    """Return the loudness of the last second."""
    return json.dumps(
        {
            "time": level.time.isoformat(),
            "microphone": level.microphone,
            "rms_dbfs": level.rms_dbfs,
            "peak_dbfs": level.peak_dbfs,
        }
    )


def health_payload(microphone: str, problems: tuple[str, ...], time: datetime) -> str:
    """Return what is wrong since `time`."""
    return json.dumps(
        {"time": time.isoformat(), "microphone": microphone, "problems": problems}
    )


def guard_payload(
    microphone: str, state: str, signs: Iterable[Sign], time: datetime
) -> str:
    """Return how far it has come since `time`, and the signs that led there."""
    return json.dumps(
        {
            "time": time.isoformat(),
            "microphone": microphone,
            "state": state,
            "signs": [asdict(sign) | {"time": sign.time.isoformat()} for sign in signs],
        }
    )


def timer_payload(microphone: str, told: Mapping[str, Any], time: datetime) -> str:
    """Return what became of a timer."""
    return json.dumps({"time": time.isoformat(), "microphone": microphone, **told})


def _head(result: Result | Clip) -> dict[str, Any]:
    """Return what every result carries."""
    return {
        "id": result.id,
        "time": result.time.isoformat(),
        "microphone": result.microphone,
    }


def _engine(engine: Engine) -> dict[str, str]:
    """Return a result's author."""
    return {"name": engine.name, "version": engine.version}
