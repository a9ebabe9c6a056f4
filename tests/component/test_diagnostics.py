"""Diagnostics help to find a fault and give nothing away."""

import json
from pathlib import Path

from homeassistant.core import HomeAssistant

from custom_components.earshot.diagnostics import async_get_config_entry_diagnostics

from .conftest import microphone, set_up, wait_for
from .fake_server import TOKEN, FakeServer


async def test_they_tell_the_state_without_secrets(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(
        hass,
        server,
        microphone({"url": str(tone)}),
        microphone(title="Door"),
    )
    stream = await server.stream()
    await stream.transcript("my secret diary")
    await stream.transcript("never mind")
    await stream.sound("smoke", "start", "event-1")
    await stream.health("clipped")
    first, _ = entry.runtime_data.microphones.values()
    await wait_for(
        lambda: first.health.problems and entry.runtime_data.publisher.waiting == 4
    )
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    text = json.dumps(diagnostics)
    for secret in (
        TOKEN,
        "127.0.0.1",
        "secret",
        "diary",
        "never mind",
        str(tone),
        "installation-1",
    ):
        assert secret not in text
    assert diagnostics["entry"]["token"] == "**REDACTED**"
    assert diagnostics["server"]["available"] is True
    assert diagnostics["server"]["version"] == "0.1.0"
    assert diagnostics["mqtt"] == {
        "connected": False,
        "published": 0,
        "waiting": 4,
        "dropped": 0,
    }
    assert diagnostics["profile"] == {
        "current": "home",
        "follows": False,
        "heeded": None,
    }
    kitchen, door = diagnostics["microphones"]
    assert kitchen == {
        "settings": {
            "sounds": True,
            "labels": ["smoke", "co", "bark"],
            "commands": True,
            "slug": "kitchen",
            "url": "**REDACTED**",
        },
        "tasks": ["sounds", "commands"],
        "labels": ["smoke", "co", "bark"],
        "hearing": {"labels": ("smoke", "co", "bark"), "sensitivity": "normal"},
        "listening": True,
        "hears": True,
        "understands": True,
        "sounding": ["smoke"],
        "problems": ["clipped"],
    }
    assert door["hears"] is False
