"""A second microphone in the house, for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import time
from typing import Any

from demo import home
from demo.house import House
from demo.journal import Entry, Message


@asynccontextmanager
async def microphone(
    house: House, name: str, *entities: str, **form: Any
) -> AsyncIterator[None]:
    """Add one that hears what the first one hears; it has these entities once it runs."""
    entries = await house.client.call("config_entries/get", domain="earshot")
    entry = entries[0]["entry_id"]
    began = time.time()
    await home.run_flow(
        house.client,
        "subentries/flow",
        [entry, "microphone"],
        {"next_step_id": "url"},
        {"name": name, "url": house.url, **form},
    )
    subentries = await house.client.call(
        "config_entries/subentries/list", entry_id=entry
    )
    (added,) = [one for one in subentries if one["title"] == name]
    await home.entities_appear(house.client, list(entities))
    # It takes ffmpeg and the server a moment until what is played is heard.
    assert await house.journal.until(
        lambda heard: any(_is_online(entry, name) for entry in heard), began, 30.0
    )
    await asyncio.sleep(4)
    yield
    await house.client.call(
        "config_entries/subentries/delete",
        entry_id=entry,
        subentry_id=added["subentry_id"],
    )
    await home.entities_appear(house.client, [house.entities["event"]])


def _is_online(entry: Entry, name: str) -> bool:
    return (
        isinstance(entry, Message)
        and entry.topic == f"earshot/{name.lower()}/availability"
        and entry.payload == "online"
    )
