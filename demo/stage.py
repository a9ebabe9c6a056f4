"""Plays a scene into the house and waits for what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
import time
from typing import TYPE_CHECKING

from demo.devices import STATES, Act
from demo.journal import Entry, Message
from demo.outcome import BASE, Outcome, Trace, missing, observed
from demo.scenes import SIREN, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo.air import Playback
    from demo.house import House

_RESULT_S = 12.0
_QUIET_S = 4.0
_SURPLUS_S = 1.0
_RELEASE_S = 45.0
_LAST_WORDS_S = 0.3
_OPPOSITE = {"ON": "OFF", "OFF": "ON", "LOCKED": "UNLOCKED", "UNLOCKED": "LOCKED"}


@dataclass(frozen=True)
class Played:
    """A scene that was played, and all that happened from its beginning on."""

    scene: Scene
    playback: Playback
    entries: tuple[Entry, ...]
    observed: Outcome
    missing: tuple[Trace, ...]
    stuck: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Tell whether exactly what was expected happened, everywhere, and ended."""
        return not (self.observed != self.scene.expected or self.missing or self.stuck)

    @property
    def reference(self) -> float:
        """UTC second from which latencies count."""
        return reference(self.scene, self.playback)

    def command_latency_s(self) -> float | None:
        """Seconds until the first device was told something; None when none was."""
        for entry in self.entries:
            if isinstance(entry, Act) and entry.kind == "command":
                return entry.time - self.reference
        return None

    def event_latency_s(self, microphone: str) -> float | None:
        """Seconds until the first sound event was published; None when none was."""
        for entry in self.entries:
            if isinstance(entry, Message) and (
                entry.topic == f"{BASE}/{microphone}/sound"
            ):
                return entry.time - self.reference
        return None


def reference(scene: Scene, playback: Playback) -> float:
    """UTC second from which a scene's latencies count."""
    return playback.start if scene.reference == "start" else playback.end


async def prepare(house: House, scene: Scene) -> None:
    """Switch devices by hand, where a command would find nothing to change."""
    for slug, value in scene.expected.commands:
        device = house.devices[slug]
        if device.state != STATES[value]:
            continue
        other = _OPPOSITE[device.state]
        pressed = Trace("state", house.entities[slug], other.lower())
        began = time.time()
        device.press(other)
        await house.journal.until(partial(_left, pressed), began, 5.0)


def _left(trace: Trace, entries: Sequence[Entry]) -> bool:
    return not missing([trace], entries)


async def play(
    house: House,
    scene: Scene,
    playing: Callable[[float, float, float], None] = lambda *_: None,
) -> Played:
    """Play a scene; return once all it should lead to has happened, or time is up.

    A scene that should lead to nothing is waited for in full, and every other
    one for a moment longer, so that what must not happen gets its chance to.
    `playing` is told the start, the seconds and the reference of the sound.
    """
    wanted = house.traces(scene.expected)
    await prepare(house, scene)
    began = time.time()
    playback = house.air.play(scene.audio)
    playing(playback.start, playback.end - playback.start, reference(scene, playback))

    def complete(entries: list[Entry]) -> bool:
        return observed(entries, house.microphone) == scene.expected and not missing(
            wanted, entries
        )

    if wanted:
        await house.journal.until(complete, began, playback.end + _RESULT_S - began)
        await asyncio.sleep(max(0.0, playback.end - time.time()) + _SURPLUS_S)
    else:
        await asyncio.sleep(playback.end + _QUIET_S - began)
    entries = tuple(house.journal.since(began))
    return Played(
        scene,
        playback,
        entries,
        observed(entries, house.microphone),
        tuple(missing(wanted, entries)),
    )


async def settle(house: House, played: Played) -> tuple[str, ...]:
    """Wait until every sound of the scene is over, then switch the siren off.

    Returns the labels of sounds that stay on.
    """
    topic = f"{BASE}/{house.microphone}/sound"

    def on(entries: Sequence[Entry]) -> tuple[str, ...]:
        ended = {
            entry.json()["label"]
            for entry in entries
            if isinstance(entry, Message)
            and entry.topic == topic
            and entry.json()["state"] == "end"
        }
        return tuple(label for label in played.observed.sounds if label not in ended)

    start = played.playback.start
    await house.journal.until(lambda entries: not on(entries), start, _RELEASE_S)
    if (SIREN, "ON") in played.observed.commands:
        began = time.time()
        siren = house.entities[SIREN]
        await house.client.service("siren", "turn_off", entity_id=siren)
        off = Trace("state", siren, "off")
        await house.journal.until(partial(_left, off), began, 5.0)
    if played.observed.sounds:
        await asyncio.sleep(_LAST_WORDS_S)
    return on(house.journal.since(start))


async def perform(
    house: House,
    scene: Scene,
    playing: Callable[[float, float, float], None] = lambda *_: None,
) -> Played:
    """Play a scene and let its sounds end; `playing` as for `play`."""
    played = await play(house, scene, playing)
    return replace(played, stuck=await settle(house, played))
