"""Kept clips on disk: a folder per microphone, a bound on age and bytes, nothing half written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
import logging
from pathlib import Path
import re
from typing import Final, Literal, TypeAlias

from pydantic import ValidationError

from model_server.api.messages import KeptClip
from model_server.audio import Pcm
from model_server.audio.flac import flac
from model_server.audio.picture import spectrogram_png
from model_server.settings import ClipSettings
from model_server.store import private_folder, write_private

Kind: TypeAlias = Literal["flac", "png"]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MICROPHONE = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_RECORD: Final = ".json"
"""Written last and removed first: what has none is no clip."""
_SUFFIXES: Final = (_RECORD, ".flac", ".png")

_LOGGER = logging.getLogger(__name__)


class ClipStore:
    """Writes, finds and forgets clips. Not for two threads at a time."""

    def __init__(
        self, folder: Path, settings: ClipSettings, now: Callable[[], datetime]
    ) -> None:
        """Keep clips below `folder`, which need not exist."""
        self._folder = folder
        self._settings = settings
        self._now = now
        self._failing = False

    def keep(self, clip: KeptClip, pcm: Pcm) -> bool:
        """Write a clip, (samples,); False where that fails, which is logged once."""
        contents = {
            ".flac": flac(pcm),
            ".png": spectrogram_png(pcm),
            _RECORD: clip.model_dump_json().encode(),
        }
        path = self._folder / clip.microphone / clip.id
        try:
            private_folder(self._folder)
            self._make_room(sum(map(len, contents.values())))
            for suffix, content in contents.items():
                write_private(path.with_suffix(suffix), content)
        except OSError as error:
            _remove(path)
            if not self._failing:
                _LOGGER.warning(
                    "Clips are not kept: %s cannot be written (%s); sounds are "
                    "reported as before",
                    self._folder,
                    error.strerror,
                )
            self._failing = True
            return False
        if self._failing:
            _LOGGER.info("Clips are kept again")
        self._failing = False
        return True

    def clips(
        self, microphone: str, limit: int, before: str | None = None
    ) -> list[KeptClip]:
        """Up to `limit` clips of a microphone, the newest first, older than `before`."""
        if _MICROPHONE.fullmatch(microphone) is None:
            return []
        found: list[KeptClip] = []
        # Ids begin with the time: their order is that of the events.
        for path in sorted(self._records(microphone), reverse=True):
            if len(found) == limit:
                break
            if before is None or path.stem < before:
                clip = _read(path)
                found += [] if clip is None else [clip]
        return found

    def file(self, microphone: str, clip: str, kind: Kind) -> Path | None:
        """One of a clip's files; None if this microphone has no such clip."""
        path = self._path(microphone, clip)
        return None if path is None else path.with_suffix(f".{kind}")

    def remove(self, microphone: str, clip: str) -> bool:
        """Forget a clip; False if this microphone has no such clip."""
        path = self._path(microphone, clip)
        if path is not None:
            _remove(path)
        return path is not None

    def tidy(self) -> None:
        """Forget what is too old or too much, and what a crash left half written."""
        for folder in self._microphones():
            for path in folder.iterdir():
                whole = path.name[0] != "." and path.with_suffix(_RECORD).exists()
                if path.is_file() and not whole:
                    path.unlink(missing_ok=True)
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Forget the oldest clips until `size` bytes more are allowed."""
        days = timedelta(days=self._settings.max_days)
        oldest = (self._now() - days).timestamp() * 1000
        records = sorted(
            (
                path
                for folder in self._microphones()
                for path in self._records(folder.name)
            ),
            key=lambda path: path.stem,
        )
        sizes = {path: _size(path) for path in records}
        total = sum(sizes.values()) + size
        for path in records:
            if _made(path.stem) >= oldest and total <= self._settings.max_bytes:
                break
            _remove(path)
            total -= sizes[path]

    def _path(self, microphone: str, clip: str) -> Path | None:
        """A clip's path without suffix: what a client asks for never becomes another."""
        if _MICROPHONE.fullmatch(microphone) is None or _ID.fullmatch(clip) is None:
            return None
        path = self._folder / microphone / clip
        return path if path.with_suffix(_RECORD).is_file() else None

    def _microphones(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [
            path
            for path in self._folder.iterdir()
            if _MICROPHONE.fullmatch(path.name) and path.is_dir()
        ]

    def _records(self, microphone: str) -> Iterator[Path]:
        return (
            path
            for path in (self._folder / microphone).glob(f"*{_RECORD}")
            if _ID.fullmatch(path.stem)
        )


def is_clip_id(text: str) -> bool:
    """Whether this can be the id of a clip."""
    return _ID.fullmatch(text) is not None


def _made(clip: str) -> int:
    """When an id was made: milliseconds since 1970 (RFC 9562, 5.7)."""
    return int(clip.replace("-", "")[:12], 16)


def _read(record: Path) -> KeptClip | None:
    """A clip's record; None where it is damaged or just went."""
    try:
        return KeptClip.model_validate_json(record.read_bytes())
    except (OSError, ValidationError):
        return None


def _size(path: Path) -> int:
    sizes = 0
    for suffix in _SUFFIXES:
        file = path.with_suffix(suffix)
        sizes += file.stat().st_size if file.exists() else 0
    return sizes


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_suffix(suffix).unlink(missing_ok=True)
