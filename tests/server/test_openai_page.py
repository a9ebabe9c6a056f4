"""docs/openai.md and docs/protocol.md: the commands and programs on them do work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
import json
from pathlib import Path
import re
from typing import get_args

import pytest
import soundfile

from model_server.api.openai_transcription import Format
from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineInfo
from model_server.settings import Settings
from tests.server.client import House, Serve, command
from tests.server.describers import Meter
from tests.server.test_openai_chat import tone

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "openai.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    block
    for page in (PAGE, (DOCS / "protocol.md").read_text("utf-8"))
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    if "curl" in block
]
ADDRESS = "http://localhost:10380"


class Described(Meter):
    """A meter under the name that the page uses, which answers the page's schemas."""

    info = EngineInfo("midashenglm", "1")

    def value(self, name: str, measured: Mapping[str, float]) -> object:
        return {"speech": False, "loud": True}[name]


@pytest.fixture
async def house(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[House]:
    """A house, and a folder with the recordings that the page speaks of."""
    soundfile.write(tmp_path / "command.wav", command(), SAMPLE_RATE)
    soundfile.write(tmp_path / "clip.wav", tone(440), SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    async with serve(describer=Described(), classifier=None) as started:
        monkeypatch.setenv("TOKEN", started.token)
        await started.furnish()
        yield started


@pytest.mark.parametrize("program", PROGRAMS, ids=["transcribe", "chat", "stream"])
async def test_every_program_prints_an_answer(
    house: House, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = compile(program.replace(ADDRESS, house.url), "docs/openai.md", "exec")

    await asyncio.to_thread(exec, code, {})

    said = capsys.readouterr().out
    if "transcriptions" in program:
        assert re.match(
            r"turn on the kitchen lights?\n\d\.\d to \d\.\d s: turn on", said
        )
    else:
        assert said == "seconds 2 loudness -9 pitch 440\n"


@pytest.mark.parametrize("block", COMMANDS)
async def test_every_command_prints_an_answer(house: House, block: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", block.replace(ADDRESS, house.url)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()

    assert process.returncode == 0
    answer = json.loads(out)
    if "transcriptions" in block:
        assert answer["text"].startswith("turn on the kitchen light")
    elif "chat" in block:
        content = json.loads(answer["choices"][0]["message"]["content"])
        assert content == {"speech": False, "loud": True}
    elif "/v1/clips" in block:
        assert answer == {"clips": []}
    elif "schema" in block:
        assert answer["json"] == {"speech": False}
    else:
        assert answer["text"].startswith("seconds 2")


def test_every_limit_is_there_with_its_default() -> None:
    for name in ("max_upload_bytes", "max_upload_s", "max_requests"):
        default = Settings.model_fields[name].default
        shown = f"{default >> 20} MiB" if name.endswith("bytes") else f"{default:g}"
        assert f"| `{name}` | {shown} |" in PAGE


def test_every_format_is_there() -> None:
    (row,) = re.findall(
        r"^\| `response_format` \| (`json`, .*) \|$", PAGE, re.MULTILINE
    )

    assert row == ", ".join(f"`{name}`" for name in get_args(Format))
