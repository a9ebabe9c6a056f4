"""Decoding: any file a person has, and nothing that a file should not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from model_server.audio import SAMPLE_RATE
from model_server.audio.decode import (
    AudioTooLongError,
    UnreadableAudioError,
    open_audio,
    read_audio,
)

MINUTE = 60 * SAMPLE_RATE


def tone(rate: int, seconds: float = 2.0) -> np.ndarray:
    """440 Hz at half of full scale."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)


def encode(path: Path, codec: str, rate: int, blocks: list[np.ndarray]) -> Path:
    """Write mono int16 blocks with PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for block in blocks:
            frame = av.AudioFrame.from_ndarray(block[None], "s16", "mono")
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz_of_the_same_length_and_pitch(
    tmp_path: Path, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate), rate)

    pcm = read_audio(tmp_path / "a.wav", MINUTE)

    assert pcm.dtype == np.int16
    assert abs(pcm.size - 2 * SAMPLE_RATE) <= 2
    spectrum = np.abs(np.fft.rfft(pcm[: 2 * SAMPLE_RATE - 4].astype(float)))
    assert abs(np.argmax(spectrum) / 2 - 440) < 2
    assert np.abs(pcm).max() == pytest.approx(16384, rel=0.05)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.flac", "flac", 16_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.opus", "libopus", 48_000),
        ("a.m4a", "aac", 44_100),
        ("a.mkv", "pcm_s16le", 16_000),
    ],
)
def test_every_usual_container_is_read(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    samples = np.asarray(tone(rate) * 32767, np.int16)
    path = encode(tmp_path / name, codec, rate, [samples])

    pcm = read_audio(path, MINUTE)

    assert pcm.size / SAMPLE_RATE == pytest.approx(2, abs=0.15)
    assert np.abs(pcm).max() > 12_000


def test_stereo_is_mixed_to_mono(tmp_path: Path) -> None:
    left = tone(SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([left, left * 0], axis=1), SAMPLE_RATE)

    pcm = read_audio(tmp_path / "a.wav", MINUTE)

    assert np.abs(pcm).max() == pytest.approx(8192, rel=0.02)


def test_the_sound_of_a_film_is_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        container.mux(picture.encode(frame))
        samples = np.asarray(tone(SAMPLE_RATE) * 32767, np.int16)
        audio = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        audio.sample_rate = SAMPLE_RATE
        container.mux(sound.encode(audio))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))

    assert read_audio(path, MINUTE).size == 2 * SAMPLE_RATE


def test_a_bomb_is_stopped_at_the_cap_and_not_after_decoding_it_all(
    tmp_path: Path,
) -> None:
    hour = [np.zeros(100 * 32_000, np.int16)] * 36
    bomb = encode(tmp_path / "bomb.flac", "flac", 32_000, hour)
    assert bomb.stat().st_size < 2_000_000

    decoded: list[int] = []
    with open_audio(bomb, MINUTE) as audio:
        sizes = (block.size for block in audio.blocks)
        with pytest.raises(AudioTooLongError, match=r"bomb\.flac is longer than 60 s"):
            decoded.extend(sizes)

    assert sum(decoded) <= MINUTE


def test_a_long_file_comes_in_pieces(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(10 * MINUTE), SAMPLE_RATE)

    with open_audio(tmp_path / "long.flac", 60 * MINUTE) as audio:
        sizes = [block.size for block in audio.blocks]

    assert audio.duration == pytest.approx(600)
    assert sum(sizes) == 10 * MINUTE
    assert max(sizes) < MINUTE


@pytest.mark.parametrize(
    "content", [b"", b"hello there", bytes(4096), b"RIFF\x24\x00\x00\x00WAVEfmt "]
)
def test_what_is_no_audio_is_refused_without_the_decoders_words(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)

    with pytest.raises(UnreadableAudioError) as refusal:
        read_audio(path, MINUTE)

    assert str(refusal.value) == (
        "letter.txt cannot be read as audio: give a file that ffmpeg plays, "
        "such as WAV, FLAC, MP3, Ogg or MP4."
    )


def test_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    with pytest.raises(UnreadableAudioError):
        read_audio(path, MINUTE)


def test_of_a_file_damaged_in_the_middle_the_rest_is_read(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, MINUTE, np.int16)
    path = encode(tmp_path / "a.flac", "flac", SAMPLE_RATE, [samples])
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 2] = bytes(
        len(damaged) // 2 - len(damaged) // 3
    )
    path.write_bytes(damaged)

    assert 0 < read_audio(path, MINUTE).size < MINUTE


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudioError, match="There is no file"):
        read_audio(tmp_path / "nothing.wav", MINUTE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "list.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        ),
        ("list.ffconcat", "ffconcat version 1.0\nfile {}\n"),
    ],
)
def test_a_playlist_cannot_open_another_file(
    tmp_path: Path, name: str, text: str
) -> None:
    samples = np.asarray(tone(SAMPLE_RATE) * 32767, np.int16)
    encode(tmp_path / "secret.ts", "mp2", SAMPLE_RATE, [samples])
    assert read_audio(tmp_path / "secret.ts", MINUTE).size > SAMPLE_RATE
    (tmp_path / name).write_text(text.format("secret.ts"))

    with pytest.raises(UnreadableAudioError):
        read_audio(tmp_path / name, MINUTE)


def test_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 10)

    with pytest.raises(UnreadableAudioError):
        read_audio(tmp_path / "slow.wav", MINUTE)


def test_a_file_that_may_not_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(16_000), 16_000)

    def forbidden(*_: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(UnreadableAudioError, match=r"secret\.wav cannot be read"):
        read_audio(tmp_path / "secret.wav", MINUTE)
