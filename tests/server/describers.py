"""A small describer that really listens: it measures a clip and says so in words."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
import json
import threading
from typing import Any

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import CUT, EngineError, EngineInfo, UnusableRequestError


class Meter:
    """Tells length, loudness and pitch, word by word, or as JSON.

    `go` holds every answer after its first word until it is set; `closed` counts
    the answers that were freed; `fails` is raised after so many words.
    """

    info = EngineInfo("meter", "1")
    max_seconds = 30.0
    parallel = 1

    def __init__(self, fails: EngineError | None = None, after: int = 0) -> None:
        """Answer everything at once, unless told otherwise."""
        self.go = threading.Event()
        self.go.set()
        self.closed = threading.Semaphore(0)
        self.asked: list[tuple[str, Mapping[str, Any] | None, int]] = []
        self.said: list[str] = []
        self._fails = fails
        self._after = after

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Iterator[str]:
        """As the protocol says."""
        self.asked.append((instruction, schema, max_tokens))
        if not pcm.size:
            raise UnusableRequestError("There is no audio in the clip.")
        return self._answer(measure(pcm), schema, max_tokens)

    def value(self, name: str, measured: Mapping[str, float]) -> object:
        """What JSON says under a name of its schema."""
        return measured[name]

    def _answer(
        self,
        measured: dict[str, float],
        schema: Mapping[str, Any] | None,
        max_tokens: int,
    ) -> Generator[str, None, str | None]:
        if schema is None:
            text = " ".join(f"{name} {value:g}" for name, value in measured.items())
        else:
            wanted = schema.get("properties", measured)
            text = json.dumps({name: self.value(name, measured) for name in wanted})
        words = text.split(" ")
        try:
            for number, word in enumerate(words[:max_tokens]):
                if self._fails is not None and number == self._after:
                    raise self._fails
                self.said.append(word)
                yield word if number == 0 else " " + word
                assert self.go.wait(60)
            return CUT if len(words) > max_tokens else None
        finally:
            self.closed.release()


def measure(pcm: Pcm) -> dict[str, float]:
    """Seconds, RMS in dBFS and the strongest frequency in Hz, rounded to 10."""
    samples = pcm.astype(np.float64) / 32768
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    pitch = float(np.argmax(spectrum)) * SAMPLE_RATE / samples.size
    rms = float(np.sqrt(np.mean(samples**2)))
    return {
        "seconds": round(samples.size / SAMPLE_RATE, 1),
        "loudness": round(20 * np.log10(max(rms, 1e-5))),
        "pitch": round(pitch, -1),
    }
