"""An alarm is kept as a clip, and somebody plays it in Home Assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
import stat
import sys
import time

import aiohttp
import numpy as np
import pytest_asyncio

from demo import home
from demo.house import House
from demo.journal import Message
from demo.processes import Process, free_port
from demo.scenes import alarms
from demo.stack import ROOT
from model_server.audio import SAMPLE_RATE
from model_server.audio.decode import decode_audio
from model_server.monitor.rhythm import RhythmRecognizer
from tests.e2e.conftest import Stage

BASE = "earshot/upstairs"


@dataclass(frozen=True)
class Attic:
    """A second microphone in the same air, whose server keeps clips in `folder`."""

    entry: str
    folder: Path


@pytest_asyncio.fixture(loop_scope="session")
async def attic(house: House, tmp_path: Path) -> AsyncIterator[Attic]:
    """A server of its own, set up beside the house's, and gone afterwards."""
    port = free_port()
    settings = tmp_path / "earshot.toml"
    settings.write_text('[clips]\nenabled = true\nlabels = ["smoke"]\n')

    async def serves() -> bool:
        timeout = aiohttp.ClientTimeout(total=2)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.request(
                "GET", f"http://127.0.0.1:{port}/health", timeout=timeout
            ) as answer:
                return answer.status == 200
        return False

    server = Process(
        "the attic's server",
        [
            *(sys.executable, "-m", "model_server", "serve"),
            *("--port", str(port), "--config", settings),
            *("--data-dir", tmp_path / "server"),
        ],
        tmp_path / "server.log",
        ready=serves,
        timeout_s=120,
        cwd=ROOT,
    )
    await server.start()
    client = house.client
    token = (tmp_path / "server" / "token").read_text().strip()
    entry = await home.add_earshot(client, port, token)
    try:
        await home.run_flow(
            client,
            "subentries/flow",
            [entry, "microphone"],
            {"next_step_id": "url"},
            {
                "name": "Attic",
                "url": house.url,
                "labels": ["smoke"],
                "commands": False,
                "clips": True,
            },
        )
        # A topic of its own: two servers would share one, and say who of them is there.
        began = time.time()
        await home.run_flow(
            client, "options/flow", entry, {"base_topic": BASE, "publish_level": False}
        )

        def hears(_: object) -> bool:
            told = house.journal.messages(began, f"{BASE}/attic/availability")
            return bool(told) and told[-1].payload == "online"

        assert await house.journal.until(hears, began, 60)
        yield Attic(entry, tmp_path / "server" / "clips" / "attic")
    finally:
        await client.request("DELETE", f"/api/config/config_entries/entry/{entry}")
        await server.stop()


async def test_an_alarm_is_kept_and_played_in_home_assistant(
    house: House, stage: Stage, attic: Attic
) -> None:
    played = await stage(next(alarms()))
    began = played.playback.start

    def kept(_: object) -> bool:
        return bool(house.journal.messages(began, f"{BASE}/attic/clip"))

    await house.journal.until(kept, began, 20)
    (message,) = house.journal.messages(began, f"{BASE}/attic/clip")
    start, *_ = house.journal.messages(began, f"{BASE}/attic/sound")
    clip = message.json()
    assert isinstance(message, Message)
    assert clip["event"] == start.json()["id"]
    assert (clip["label"], message.retain) == ("smoke", False)
    files = sorted(attic.folder.iterdir())
    assert [path.name for path in files] == [
        f"{clip['id']}.{suffix}" for suffix in ("flac", "json", "png")
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

    state = (await house.client.states())["event.attic_clip"]
    assert state["attributes"]["event_type"] == "smoke"
    identifier = state["attributes"]["clip"]
    folder = identifier.rpartition("/")[0]
    listed = await house.client.call(
        "media_source/browse_media", media_content_id=folder
    )
    (shown,) = listed["children"]
    assert shown["media_content_id"] == identifier
    assert shown["title"].startswith("Smoke alarm, 20")
    resolved = await house.client.call(
        "media_source/resolve_media", media_content_id=identifier
    )
    token = {"Authorization": f"Bearer {house.client.token}"}
    async with aiohttp.ClientSession(house.stack.url) as session:
        async with session.get(resolved["url"]) as answer:
            assert answer.status == 200
            assert answer.content_type == resolved["mime_type"] == "audio/flac"
            sound = await answer.read()
        async with session.get(resolved["url"].partition("?")[0]) as answer:
            assert answer.status == 401
        async with session.get(shown["thumbnail"], headers=token) as answer:
            assert (answer.status, answer.content_type) == (200, "image/png")
            assert (await answer.read()).startswith(b"\x89PNG")

    with decode_audio(BytesIO(sound), "The clip", 60 * SAMPLE_RATE) as audio:
        heard = np.concatenate(list(audio.blocks))
    assert heard.size == round(clip["seconds"] * SAMPLE_RATE)
    assert 10 < clip["seconds"] <= 15
    (alarm, *_) = RhythmRecognizer(["smoke"]).push(heard)
    # The house before the alarm is there, too: five seconds, if it was heard so long.
    assert 1 < alarm.onset / SAMPLE_RATE < 6.5


async def test_the_houses_own_server_keeps_nothing(house: House) -> None:
    assert not (house.stack.folder / "server" / "clips").exists()
