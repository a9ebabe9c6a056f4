"""Typed client of the Earshot model server; needs aiohttp, not Home Assistant."""

from .api import Client, Endpoint
from .clips import Clip, ClipFile, ClipKind, KeptClip, is_clip_id
from .connection import Stream
from .errors import (
    CannotConnect,
    ClipNotFound,
    ConnectionLost,
    ConnectTimeout,
    EarshotError,
    InvalidAuth,
    InvalidMessage,
    NotEarshot,
    ProtocolMismatch,
    StreamError,
    TlsFailed,
    VocabularyRefused,
)
from .info import Info, Label, SoundCapability, SpeechCapability
from .intents import Intent
from .limits import Limits
from .messages import (
    UNAVAILABLE,
    Alternative,
    Engine,
    Level,
    Listening,
    Ready,
    Result,
    ServerMessage,
    Sound,
    Speech,
    Stopped,
    Transcript,
)
from .requests import PROTOCOL, Listen, Rules, Sensitivity, Start, Task
from .vocabulary import Entity, Place, Vocabulary, VocabularyReport

__all__ = [
    "PROTOCOL",
    "UNAVAILABLE",
    "Alternative",
    "CannotConnect",
    "Client",
    "Clip",
    "ClipFile",
    "ClipKind",
    "ClipNotFound",
    "ConnectTimeout",
    "ConnectionLost",
    "EarshotError",
    "Endpoint",
    "Engine",
    "Entity",
    "Info",
    "Intent",
    "InvalidAuth",
    "InvalidMessage",
    "KeptClip",
    "Label",
    "Level",
    "Limits",
    "Listen",
    "Listening",
    "NotEarshot",
    "Place",
    "ProtocolMismatch",
    "Ready",
    "Result",
    "Rules",
    "Sensitivity",
    "ServerMessage",
    "Sound",
    "SoundCapability",
    "Speech",
    "SpeechCapability",
    "Start",
    "Stopped",
    "Stream",
    "StreamError",
    "Task",
    "TlsFailed",
    "Transcript",
    "Vocabulary",
    "VocabularyRefused",
    "VocabularyReport",
    "is_clip_id",
]
