"""Sources of sound, with the real ffmpeg."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
import os
from pathlib import Path
import stat

import pytest

from custom_components.earshot.sources.base import SourceError
from custom_components.earshot.sources.camera import CameraSource
from custom_components.earshot.sources.ffmpeg import (
    FfmpegSource,
    arguments,
    is_supported,
    redact,
)


async def read(source: AsyncGenerator[bytes], size: int) -> bytes:
    """Read so much PCM and close the source."""
    pcm = b""
    async with aclosing(source) as chunks:
        async for chunk in chunks:
            pcm += chunk
            if len(pcm) >= size:
                break
    return pcm


def children() -> set[str]:
    """Return the commands of this process's children."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(fields[2].split()[1]) == os.getpid():
            found.add(fields[0].partition("(")[2])
    return found


def script(folder: Path, text: str) -> str:
    """Return a program that stands for ffmpeg."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_file_becomes_pcm(tone: Path) -> None:
    pcm = await read(FfmpegSource("ffmpeg", str(tone)).open(), 16000)
    assert pcm[:1000] == bytes(byte for n in range(500) for byte in (n & 0xFF, 0))


async def test_a_file_url_is_a_file(tone: Path) -> None:
    assert await read(FfmpegSource("ffmpeg", f"file:{tone}").open(), 3200)


async def test_closing_a_source_kills_its_process(tone: Path) -> None:
    source = FfmpegSource("ffmpeg", str(tone)).open()
    await anext(source)
    assert "ffmpeg" in children()
    await source.aclose()
    assert "ffmpeg" not in children()


async def test_cancelling_a_reader_kills_the_process(tone: Path) -> None:
    task = asyncio.create_task(read(FfmpegSource("ffmpeg", str(tone)).open(), 10**9))
    while "ffmpeg" not in children():
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert "ffmpeg" not in children()


async def test_a_source_ends_with_its_audio(tmp_path: Path) -> None:
    program = script(tmp_path, "printf abcde")
    # The odd last byte is no sample.
    assert await read(FfmpegSource(program, "/a").open(), 99) == b"abcd"


async def test_odd_bytes_are_carried_over(tmp_path: Path) -> None:
    program = script(tmp_path, "printf abc; sleep 0.2; printf d")
    chunks = [chunk async for chunk in FfmpegSource(program, "/a").open()]
    assert chunks == [b"ab", b"cd"]


async def test_a_single_byte_waits_for_its_other_half(tmp_path: Path) -> None:
    program = script(tmp_path, "printf a; sleep 0.2; printf b")
    assert [chunk async for chunk in FfmpegSource(program, "/a").open()] == [b"ab"]


async def test_a_missing_file_says_why_without_its_name(tmp_path: Path) -> None:
    url = "http://user:secret@127.0.0.1:9/private"
    with pytest.raises(SourceError, match="ffmpeg ended") as err:
        await read(FfmpegSource("ffmpeg", url).open(), 1)
    assert "secret" not in str(err.value)
    with pytest.raises(SourceError, match="No such file"):
        await read(FfmpegSource("ffmpeg", str(tmp_path / "none")).open(), 1)


async def test_a_failure_without_words_says_the_status(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="status 3"):
        await read(FfmpegSource(script(tmp_path, "exit 3"), "/a").open(), 1)


async def test_a_missing_ffmpeg_is_an_error_of_the_source() -> None:
    with pytest.raises(SourceError, match="does not start"):
        await read(FfmpegSource("/nowhere/ffmpeg", "/a").open(), 1)


async def test_a_silent_process_counts_as_broken(tmp_path: Path) -> None:
    program = script(tmp_path, "exec sleep 60")
    with pytest.raises(SourceError, match="no sound"):
        await read(FfmpegSource(program, "/a", stall_s=0.1).open(), 1)
    assert "sleep" not in children()


async def test_many_complaints_do_not_block_the_audio(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2; printf abcd;"
        " echo the reason >&2; exit 1",
    )
    source = FfmpegSource(program, "/a").open()
    assert await anext(source) == b"abcd"
    with pytest.raises(SourceError, match="ended: the reason$"):
        await anext(source)


async def test_a_complaint_that_was_cut_is_not_shown(tmp_path: Path) -> None:
    program = script(
        tmp_path, "(echo rtsp://u:secret@h; head -c 9000 /dev/zero) >&2; exit 1"
    )
    with pytest.raises(SourceError, match="ended: status 1$"):
        await read(FfmpegSource(program, "/a").open(), 1)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:pass@camera/live",
        "https://radio/stream.mp3",
        "tcp://10.0.0.1:5000",
        "/media/tone.wav",
        "file:/media/tone.wav",
        "file:///media/tone.wav",
        "alsa:default",
        "pulse://default",
    ],
)
def test_sources_are_supported(url: str) -> None:
    assert is_supported(url)
    command = arguments(url)
    assert command[-8:] == ["-vn", "-f", "s16le", "-ar", "16000", "-ac", "1", "pipe:1"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "tone.wav",
        "-version",
        "concat:/etc/passwd|/etc/shadow",
        "subfile,,start,0,end,0,,:/etc/passwd",
        "data:audio/wav;base64,AAAA",
        "pipe:0",
        "rtsp:",
        "http://[broken",
        "ftp://host/file",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert not is_supported(url)
    with pytest.raises(SourceError):
        arguments(url)


def test_each_kind_gets_its_options_and_the_address_is_one_argument() -> None:
    assert "-rtsp_transport tcp -i rtsp://a/;rm" in " ".join(arguments("rtsp://a/;rm"))
    assert "rtsp://a/;rm -rf" in arguments("rtsp://a/;rm -rf")
    assert "-re" in arguments("/a")
    assert "-re" in arguments("file:/a")
    assert "-re" not in arguments("http://a/b")
    assert "-f alsa -i hw:1" in " ".join(arguments("alsa:hw:1"))
    assert "-f pulse -i default" in " ".join(arguments("pulse://default"))


def test_addresses_are_redacted() -> None:
    text = redact("[in#0] Error opening rtsp://u:p@h/x?key=1: refused")
    assert text == "[in#0] Error opening **REDACTED** refused"


async def test_a_camera_is_asked_for_its_address_each_time(tone: Path) -> None:
    asked = []

    async def resolve() -> str | None:
        asked.append(1)
        return str(tone)

    source = CameraSource("ffmpeg", resolve)
    for _ in range(2):
        assert await read(source.open(), 3200)
    assert len(asked) == 2
    assert "ffmpeg" not in children()


async def test_a_camera_without_a_stream_is_an_error_of_the_source() -> None:
    async def resolve() -> str | None:
        return None

    with pytest.raises(SourceError, match="no stream"):
        await read(CameraSource("ffmpeg", resolve).open(), 1)
