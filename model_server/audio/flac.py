"""PCM as a FLAC file."""

from __future__ import annotations

from io import BytesIO

import av

from model_server.audio import SAMPLE_RATE, Pcm


def flac(pcm: Pcm) -> bytes:
    """A FLAC file of the samples, (samples,), at least one of them; lossless."""
    file = BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for each in (frame, None):
            container.mux(stream.encode(each))
    return file.getvalue()
