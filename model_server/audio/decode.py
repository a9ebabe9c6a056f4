"""Any audio file or container becomes blocks of 16 kHz mono PCM, one block at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soxr

from model_server.audio import SAMPLE_RATE, Pcm

MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHANNELS = 64
NO_PROTOCOL = {"protocol_whitelist": "none"}


class DecodeError(Exception):
    """Base of what can be wrong with a file; the message is fit for a person."""


class UnreadableAudioError(DecodeError):
    """Not a file, not audio, or damaged."""


class AudioTooLongError(DecodeError):
    """More audio than the caller allows."""


@dataclass(frozen=True)
class Audio:
    """An open file. `duration` in seconds is what its header claims, if anything."""

    duration: float | None
    blocks: Iterator[Pcm]


@contextmanager
def open_audio(path: Path, max_samples: int) -> Generator[Audio]:
    """Open a file for decoding; limits and errors as `decode_audio`."""
    if not path.is_file():
        raise UnreadableAudioError(f"There is no file {path}.")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise _unreadable(path.name) from error
        yield stack.enter_context(decode_audio(file, path.name, max_samples))


@contextmanager
def decode_audio(file: BinaryIO, name: str, max_samples: int) -> Generator[Audio]:
    """Decode an open file; memory does not grow with the length of its audio.

    `max_samples` caps the 16 kHz samples and is counted while decoding, so a
    small file that unpacks to hours is stopped there: AudioTooLongError.
    Anything that cannot be decoded raises UnreadableAudioError. Both call the
    file `name`, and neither repeats what the decoder said: its words come from
    the file.
    """
    unreadable = _unreadable(name)
    try:
        # A playlist must not make the decoder open other files or addresses: some
        # formats ask `io_open` for them, others only look at the whitelist.
        with av.open(
            file, "r", io_open=_refuse, container_options=NO_PROTOCOL
        ) as container:
            if not container.streams.audio:
                raise unreadable
            duration = container.duration / av.time_base if container.duration else None
            blocks = _resample(_frames(container), max_samples, name)
            try:
                yield Audio(duration, _translate(blocks, unreadable))
            finally:
                blocks.close()
    except (av.FFmpegError, OSError) as error:
        raise unreadable from error


def read_audio(path: Path, max_samples: int) -> Pcm:
    """All of a file at once, (samples,); errors as `open_audio`."""
    with open_audio(path, max_samples) as audio:
        return np.concatenate([np.zeros(0, np.int16), *audio.blocks])


def _unreadable(name: str) -> UnreadableAudioError:
    return UnreadableAudioError(
        f"{name} cannot be read as audio: give a file that ffmpeg plays, such as WAV, "
        "FLAC, MP3, Ogg or MP4."
    )


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("only the given file is read")


def _translate(
    blocks: Iterator[Pcm], unreadable: UnreadableAudioError
) -> Iterator[Pcm]:
    """Give the decoder's errors our own type."""
    try:
        yield from blocks
    except (av.FFmpegError, ValueError, OSError) as error:
        raise unreadable from error


def _frames(container: Any) -> Generator[tuple[int, np.ndarray[Any, Any]]]:
    """Rate and float32 samples, (samples,), of each decoded frame, mixed to mono."""
    to_float = None
    shape = None
    for frame in container.decode(audio=0):
        channels = len(frame.layout.channels)
        if not (MIN_RATE <= frame.sample_rate <= MAX_RATE and channels <= MAX_CHANNELS):
            raise ValueError("a rate or number of channels that no recorder makes")
        if (frame.format.name, frame.layout.name, frame.sample_rate) != shape:
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            to_float = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
        assert to_float is not None
        for piece in to_float.resample(frame):
            yield piece.sample_rate, piece.to_ndarray().mean(axis=0)


def _resample(
    frames: Generator[tuple[int, np.ndarray[Any, Any]]], max_samples: int, name: str
) -> Generator[Pcm]:
    """16 kHz PCM of all frames; a rate that changes half-way starts a new resampler."""
    stream = None
    rate = 0
    samples = 0
    silence = np.zeros(0, np.float32)

    def block(audio: np.ndarray[Any, Any]) -> Pcm:
        nonlocal samples
        samples += audio.size
        if samples > max_samples:
            limit = max_samples / SAMPLE_RATE
            raise AudioTooLongError(
                f"{name} is longer than {limit:g} s: cut it into shorter files."
            )
        scaled = np.nan_to_num(audio) * 32768
        return np.asarray(np.clip(np.rint(scaled), -32768, 32767), np.int16)

    for frame_rate, audio in frames:
        if frame_rate != rate:
            if stream is not None:
                yield block(stream.resample_chunk(silence, last=True))
            stream = soxr.ResampleStream(frame_rate, SAMPLE_RATE, 1)
            rate = frame_rate
        assert stream is not None
        yield block(stream.resample_chunk(audio))
    if stream is not None:
        yield block(stream.resample_chunk(silence, last=True))
