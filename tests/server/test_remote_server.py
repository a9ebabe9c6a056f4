"""A whole server whose speech engine is on another machine, which may go away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from model_server.build import Builder
from model_server.engines.base import SoundClassifier
from model_server.settings import Settings
from tests.server.client import House, command, of_kind
from tests.server.scripted_chat import scripted_chat, unique

Serve = Callable[..., AbstractAsyncContextManager[House]]

ANSWER = {
    "text": "turn on the kitchen lights",
    "intent": {"name": "HassTurnOn", "slots": {"name": "Kitchen Lights"}},
}


def configured(data_dir: Path, url: str, model: str, **more: Any) -> Settings:
    """A server that asks another one about speech."""
    remote = {"url": url, "model": model, "timeout_s": 60} | more
    return Settings.model_validate(
        {"speech": "remote", "remote": remote, "data_dir": data_dir}
    )


async def test_a_command_is_understood_elsewhere_and_heard_here_when_elsewhere_is_gone(
    serve: Serve, classifier: SoundClassifier, tmp_path: Path
) -> None:
    model = unique(["answer", [json.dumps(ANSWER)]])
    with scripted_chat() as other:
        settings = configured(tmp_path, other.url, model)
        async with serve(recognizer=Builder(settings).recognizer()) as house:
            await house.furnish()
            async with house.stream("commands") as stream:
                await stream.play(command())
                first = await stream.next("transcript")
                other.process.kill()
                other.process.wait()
                await stream.play(command("turn off the kitchen lights"))
                rest = await stream.end()

    assert first["text"] == "turn on the kitchen lights"
    assert first["intent"] == ANSWER["intent"]
    assert first["engine"] == {"name": "remote", "version": model}
    (second,) = of_kind(rest, "transcript")
    assert second["text"].startswith("turn off the kitchen light")
    assert second["intent"] is None
    assert second["engine"]["name"] == "embedded-speech"
    assert rest[-1] == {"type": "stopped", "reason": "ended"}


async def test_without_a_fallback_the_stream_stays_open_and_says_what_was_missed(
    serve: Serve, tmp_path: Path
) -> None:
    model = unique(["answer", [json.dumps(ANSWER)]])
    with scripted_chat() as other:
        settings = configured(tmp_path, other.url, model, fallback=False)
        async with serve(recognizer=Builder(settings).recognizer()) as house:
            await house.furnish()
            async with house.stream("commands") as stream:
                await stream.play(command())
                first = await stream.next("transcript")
                other.process.kill()
                other.process.wait()
                await stream.play(command())
                missed = await stream.next("transcript")
                port = int(other.url.removesuffix("/v1").rpartition(":")[2])
                with scripted_chat(port=port):
                    await stream.play(command())
                    rest = await stream.end()
            unavailable = await house.metric(
                "earshot_utterances_total", outcome="unavailable"
            )

    assert first["rejected"] is None
    assert (missed["text"], missed["rejected"]) == ("", "unavailable")
    assert unavailable == 1
    (back,) = of_kind(rest, "transcript")
    assert back["intent"] == ANSWER["intent"]
    assert rest[-1] == {"type": "stopped", "reason": "ended"}


def test_a_server_without_a_remote_engine_loads_no_client_for_it() -> None:
    code = (
        "import sys, model_server.__main__, model_server.build;"
        "import model_server.engines.fallback, model_server.engines.embedded.speech;"
        "sys.exit('openai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
