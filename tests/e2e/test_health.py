"""A microphone that sends nothing is noticed by the person it belongs to, in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
import time
from typing import Any

import numpy as np
import pytest_asyncio

from demo import home
from demo.air import RATE, Air, on_air
from demo.house import House
from demo.journal import Entry, Message, State

PROBLEM = "binary_sensor.cellar_cellar_problem"
TOPIC = "earshot/cellar/health"


@pytest_asyncio.fixture(loop_scope="session")
async def cellar(house: House) -> AsyncIterator[Air]:
    """A microphone in the cellar, whose cable hears only digital silence."""
    air = Air(np.zeros(RATE, np.float32))
    call = house.client.call
    (entry,) = [
        each["entry_id"] for each in await call("config_entries/get", domain="earshot")
    ]
    async with on_air(air) as url:
        await home.add_microphone(house.client, entry, "Cellar", url, "Cellar")
        yield air
        (subentry,) = [
            each["subentry_id"]
            for each in await call("config_entries/subentries/list", entry_id=entry)
            if each["title"] == "Cellar"
        ]
        await call(
            "config_entries/subentries/delete", entry_id=entry, subentry_id=subentry
        )
        await home.entities_appear(house.client, list(house.sensors.values()))


async def _repairs(house: House) -> list[tuple[str, dict[str, Any]]]:
    listed = await house.client.call("repairs/list_issues")
    return [
        (issue["translation_key"], issue["translation_placeholders"])
        for issue in listed["issues"]
        if issue["domain"] == "earshot"
    ]


async def _until_repairs(
    house: House, wanted: list[tuple[str, dict[str, Any]]]
) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            while await _repairs(house) != wanted:
                await asyncio.sleep(0.2)
            return True
    return False


async def test_silence_is_a_problem_within_a_minute_until_something_is_heard(
    house: House, cellar: Air
) -> None:
    await home.entities_appear(house.client, [PROBLEM])
    began = time.time()
    assert await house.journal.until(_turns("on"), began, 45)
    assert await _until_repairs(house, [("microphone_silent", {"name": "Cellar"})])
    assert time.time() - began < 60
    state = (await house.client.states())[PROBLEM]
    assert state["attributes"]["problems"] == ["silent"]

    noise = np.random.default_rng(0).normal(0, 0.01, 20 * RATE).astype(np.float32)
    cellar.play(noise)
    assert await house.journal.until(_turns("off"), began, 60)
    assert await _until_repairs(house, [])

    assert await house.journal.until(_healed, began, 10)
    kept = house.journal.messages(began, TOPIC)
    assert [message.json()["problems"] for message in kept] == [["silent"], []]
    assert {(message.qos, message.retain) for message in kept} == {(1, True)}
    # The other microphone never had a problem.
    assert house.journal.messages(house.air.began, "earshot/kitchen/health") != []
    assert all(
        message.json()["problems"] == []
        for message in house.journal.messages(house.air.began, "earshot/kitchen/health")
    )


def _healed(entries: list[Entry]) -> bool:
    told = [e for e in entries if isinstance(e, Message) and e.topic == TOPIC]
    return bool(told) and told[-1].json()["problems"] == []


def _turns(state: str):
    def happened(entries: list[Entry]) -> bool:
        return any(
            isinstance(e, State) and (e.entity, e.state) == (PROBLEM, state)
            for e in entries
        )

    return happened
