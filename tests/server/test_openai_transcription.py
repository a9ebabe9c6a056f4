"""`/v1/audio/transcriptions`, as OpenAI's own client and real speech meet it."""

from __future__ import annotations

from io import BytesIO
import re

import numpy as np
import openai
import pytest
import soundfile

from model_server.audio import SAMPLE_RATE, Pcm
from tests.server.client import House, command
from tests.server.voices import say, silence


def client(house: House, **options: object) -> openai.AsyncOpenAI:
    """OpenAI's client, pointed at a house."""
    given = {"api_key": house.token, "base_url": f"{house.url}/v1", "max_retries": 0}
    return openai.AsyncOpenAI(**(given | options))  # type: ignore[arg-type] # its options are of many types


def sound_file(pcm: Pcm, kind: str = "WAV") -> tuple[str, BytesIO]:
    """An upload."""
    file = BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format=kind)
    file.seek(0)
    return f"clip.{kind.lower()}", file


async def test_speech_becomes_text(house: House) -> None:
    async with client(house) as api:
        said = await api.audio.transcriptions.create(
            file=sound_file(command()), model="whisper-1"
        )

    assert said.text.startswith("turn on the kitchen light")
