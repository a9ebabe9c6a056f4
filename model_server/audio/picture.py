"""A picture of a sound: its mel spectrogram as a PNG, with nothing but zlib."""

from __future__ import annotations

import struct
from typing import Final
import zlib

import numpy as np
import numpy.typing as npt

from model_server.audio import Pcm
from model_server.audio.mel import log_mel

BAND_PIXELS: Final = 3
RANGE_DB: Final = 70.0
"""From the loudest point down to where a picture is darkest."""

_ANCHORS: Final = (
    (0, (4, 6, 24)),
    (80, (60, 20, 110)),
    (150, (190, 50, 90)),
    (210, (250, 150, 40)),
    (255, (255, 250, 200)),
)
"""Shades from quiet to loud, growing evenly brighter, so that grey shows the same."""


def spectrogram_png(pcm: Pcm) -> bytes:
    """A PNG of samples, (samples,), 25 ms or more; a pixel is 20 ms wide.

    192 pixels high, low sounds at the bottom.
    """
    decibels = log_mel(pcm.astype(np.float32) / np.float32(32768))
    shades = np.clip((decibels - decibels.max()) / RANGE_DB + 1, 0, 1) * 255
    image = shades.T[::-1].repeat(BAND_PIXELS, axis=0)
    return _png(np.ascontiguousarray(image, np.uint8))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """Palette indices, (height, width), as a PNG (ISO/IEC 15948)."""
    height, width = image.shape
    levels = [level for level, _ in _ANCHORS]
    palette = np.stack(
        [
            np.interp(
                np.arange(256), levels, [colour[channel] for _, colour in _ANCHORS]
            )
            for channel in range(3)
        ],
        axis=1,
    )
    # Each line begins with its filter: none.
    lines = np.pad(image, ((0, 0), (1, 0)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes())),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )
