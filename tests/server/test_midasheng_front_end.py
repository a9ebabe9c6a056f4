"""The front end against torchaudio's numbers, and against the published definition.

FIXTURE was made once by torchaudio 2.11.0 (`functional.spectrogram`, `melscale_fbanks`
and `amplitude_to_DB`, its Python files without its compiled part, on torch 2.13): the
front end's filters and decibels were equal to the last bit. torchaudio has no CPU build,
so it is no requirement. `by_definition` is a second opinion that can run: float64 and
no library's spectrogram, only a reflected edge, Hann's cosine, a discrete Fourier
transform as a sum, HTK's mel formula, decibels and their clamp.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model_server.engines.midashenglm.frontend import FrontEnd, mel_filters
from tests.server.checkpoints import encoder_config

# Of `chirp(4000)`: (band, frame) to dB, as torchaudio 2.11.0 has it.
FIXTURE = {
    (0, 0): 28.5873,
    (3, 1): 27.9076,
    (0, 12): -0.722,
    (5, 12): -44.6812,
    (20, 5): -37.1832,
    (20, 14): 2.1942,
    (33, 20): -33.3717,
    (40, 24): -2.2446,
    (52, 25): -1.7993,
    (63, 25): -4.3684,
    (63, 0): -29.9587,
    (10, 8): -21.7224,
}


def chirp(samples: int) -> npt.NDArray[np.float64]:
    """A tone that rises from 100 to 7000 Hz in a second, over a quiet hum."""
    at = np.arange(samples) / 16000
    rising = 0.5 * np.sin(2 * np.pi * (100 * at + 3450 * at**2))
    return rising + 0.01 * np.cos(2 * np.pi * 50 * at)


def by_definition(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Decibels, (64, frames), from the formulae alone."""
    size, hop, bands = 512, 160, 64
    half = size // 2
    padded = np.concatenate(
        [samples[1 : half + 1][::-1], samples, samples[-half - 1 : -1][::-1]]
    )
    window = np.array(
        [0.5 - 0.5 * math.cos(2 * math.pi * n / size) for n in range(size)]
    )
    turns = np.outer(np.arange(half + 1), np.arange(size)) / size
    wave = np.exp(-2j * np.pi * turns)
    frames = 1 + len(samples) // hop
    power = np.stack(
        [
            np.abs(wave @ (window * padded[n * hop : n * hop + size])) ** 2
            for n in range(frames)
        ],
        axis=1,
    )
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (top * n / (bands + 1) / 2595) - 1) for n in range(bands + 2)]
    mel = np.zeros((bands, frames))
    for band in range(bands):
        low, centre, high = edges[band : band + 3]
        for place in range(half + 1):
            hertz = place * 16000 / size
            rise, fall = (
                (hertz - low) / (centre - low),
                (high - hertz) / (high - centre),
            )
            mel[band] += max(0.0, min(rise, fall)) * power[place]
    decibel = 10 * np.log10(np.maximum(mel, 1e-10))
    return np.maximum(decibel, decibel.max() - 120)


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return FrontEnd(encoder_config())


def db(
    front_end: FrontEnd, samples: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = front_end(torch.tensor(samples).float()).numpy()
    return out


def test_it_gives_torchaudios_numbers(front_end: FrontEnd) -> None:
    mel = db(front_end, chirp(4000))

    assert mel.shape == (64, 26)
    for (band, frame), expected in FIXTURE.items():
        assert mel[band, frame] == pytest.approx(expected, abs=5e-4), (band, frame)


@pytest.mark.parametrize("samples", [257, 3200, 4001, 16000])
def test_it_is_the_published_definition(front_end: FrontEnd, samples: int) -> None:
    rng = np.random.default_rng(samples)
    clip = chirp(samples) + rng.normal(0, 0.02, samples)

    ours, expected = db(front_end, clip), by_definition(clip)

    assert ours.shape == expected.shape == (64, 1 + samples // 160)
    # float32 beside float64, where a band is 60 dB and more under the loudest.
    assert np.abs(ours - expected).max() < 0.02
    assert np.abs(ours - expected).mean() < 1e-4


def test_the_filters_are_triangles_of_height_one_on_the_mel_scale() -> None:
    filters = mel_filters(encoder_config()).numpy()

    assert filters.shape == (257, 64)
    assert filters.min() == 0
    assert filters.max() <= 1
    # No normalisation: away from the ends the triangles add up to 1 at every bin.
    assert filters[10:240].sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    # 8000 Hz, and what is under the first edge, are in no band.
    assert filters[0].sum() == 0
    assert filters[-1].sum() == pytest.approx(0.0, abs=1e-4)


def test_nothing_is_further_than_120_db_under_the_loudest(front_end: FrontEnd) -> None:
    loud = chirp(16000)
    loud[8000:] = 0

    mel = db(front_end, loud)

    assert mel.max() > 20
    assert mel.min() == pytest.approx(mel.max() - 120)
    silence = db(front_end, np.zeros(16000))
    assert np.unique(silence) == pytest.approx(-100)


def test_a_clip_does_not_depend_on_the_clips_beside_it(front_end: FrontEnd) -> None:
    quiet = chirp(16000) * 1e-4

    alone = db(front_end, quiet)
    db(front_end, chirp(16000) * 30)

    assert np.array_equal(db(front_end, quiet), alone)
    with pytest.raises(ValueError, match="one clip"):
        front_end(torch.zeros(2, 16000))


def test_a_clip_without_an_edge_to_reflect_is_refused(front_end: FrontEnd) -> None:
    assert front_end.min_samples == 257
    assert front_end(torch.zeros(257)).shape == (64, 2)
    with pytest.raises(ValueError, match="at least 257 samples, not 256"):
        front_end(torch.zeros(256))


def test_it_stays_in_float32_whatever_the_rest_is_cast_to() -> None:
    front_end = FrontEnd(encoder_config())
    clip = torch.tensor(chirp(16000)).float()
    expected = front_end(clip)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(clip), expected)
    assert front_end(clip.bfloat16()).dtype == torch.float32


def test_on_the_meta_device_its_window_and_filters_are_real() -> None:
    with torch.device("meta"):
        front_end = FrontEnd(encoder_config(), torch.device("cpu"))

    assert torch.equal(front_end.filters, FrontEnd(encoder_config()).filters)
    assert float(front_end.window.sum()) == pytest.approx(256)
