"""Raw PCM of every form becomes the same 16 kHz mono, however it is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.raw import RawFormat, RawPcm


def convert(form: RawFormat, *pieces: bytes) -> Pcm:
    """All samples that the pieces make."""
    raw = RawPcm(form)
    blocks = [block for piece in pieces for block in raw.push(piece)]
    return np.concatenate([np.zeros(0, np.int16), *blocks, raw.finish()])


@pytest.mark.parametrize(
    ("width", "data", "samples"),
    [
        (1, bytes([0, 128, 255]), [-32768, 0, 32512]),
        (2, bytes.fromhex("0080 0000 ff7f 0100"), [-32768, 0, 32767, 1]),
        (3, bytes.fromhex("000080 000000 ffff7f 000100"), [-32768, 0, 32767, 1]),
        (4, bytes.fromhex("00000080 00000000 ffffff7f"), [-32768, 0, 32767]),
    ],
)
def test_the_ends_and_the_middle_of_each_width_are_where_they_belong(
    width: int, data: bytes, samples: list[int]
) -> None:
    assert convert(RawFormat(SAMPLE_RATE, width, 1), data).tolist() == samples


def test_channels_are_mixed_to_their_mean() -> None:
    frames = np.array([[1000, 3000], [-500, 500], [32767, 32767]], "<i2")
    assert convert(RawFormat(SAMPLE_RATE, 2, 2), frames.tobytes()).tolist() == [
        2000,
        0,
        32767,
    ]


@given(
    st.binary(max_size=600),
    st.lists(st.integers(0, 600), max_size=6),
    st.sampled_from([16000, 8000]),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_however_the_bytes_are_cut_the_samples_are_the_same(
    data: bytes, cuts: list[int], rate: int, width: int, channels: int
) -> None:
    form = RawFormat(rate, width, channels)
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(bounds)]
    whole, cut = convert(form, data), convert(form, *pieces)
    frames = len(data) // (width * channels)
    assert whole.size == cut.size == frames * SAMPLE_RATE // rate
    assert np.abs(whole.astype(int) - cut.astype(int)).max(initial=0) <= 1


@pytest.mark.parametrize("rate", [4000, 11025, 44100, 48000, 192000])
def test_a_tone_keeps_its_pitch_and_its_length(rate: int) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(2 * rate) / rate) * 20000
    pcm = convert(RawFormat(rate, 2, 1), tone.astype("<i2").tobytes())
    spectrum = np.abs(np.fft.rfft(pcm))
    assert pcm.size == pytest.approx(2 * SAMPLE_RATE, abs=1)
    assert np.argmax(spectrum) == pytest.approx(1000, abs=1)


def test_a_large_piece_comes_in_blocks_of_about_a_second() -> None:
    form = RawFormat(8000, 1, 1)
    sizes = [block.size for block in RawPcm(form).push(bytes(80_000))]
    assert len(sizes) == 10
    assert max(sizes) <= 1.1 * SAMPLE_RATE
