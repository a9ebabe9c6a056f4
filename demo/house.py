"""The whole house: the stack, its devices, the sound in it and a journal of everything."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from demo import audio, home
from demo.air import Air, on_air
from demo.client import HomeClient
from demo.devices import Device
from demo.journal import Journal, MessageObserver, observe_states
from demo.outcome import BASE, Outcome, Trace, traces
from demo.processes import StartError
from demo.scenes import (
    ALERTS,
    FRONT_DOOR,
    KITCHEN_LIGHTS,
    MICROPHONE,
    OFFICE_LIGHTS,
    SHOPPING_LIST,
    SIREN,
)
from demo.stack import Stack, running_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_CONNECT_S = 10.0


@dataclass(frozen=True)
class House:
    """A running house: `url` is what its microphone opens, `microphone` its slug.

    `entities` gives the entity of each device and, once the house has ears, that
    of the microphone's events as `event` and of speech-to-text as `stt`;
    `sensors` the binary sensor of each label.
    """

    stack: Stack
    client: HomeClient
    owner: home.Owner
    journal: Journal
    air: Air
    devices: dict[str, Device]
    url: str
    entities: dict[str, str]
    microphone: str = MICROPHONE
    sensors: dict[str, str] = field(default_factory=dict)

    def traces(self, outcome: Outcome) -> list[Trace]:
        """List all that an outcome leaves behind in this house."""
        return traces(outcome, self.microphone, self.entities, self.sensors)


@contextlib.asynccontextmanager
async def running_devices(
    journal: Journal, port: int
) -> AsyncIterator[dict[str, Device]]:
    """Connect two lamps, a siren and a lock, and write down all they do."""
    devices = {
        device.slug: device
        for device in (
            Device(KITCHEN_LIGHTS, "Kitchen lights", "light", port, journal.add),
            Device(OFFICE_LIGHTS, "Office lights", "light", port, journal.add),
            Device(SIREN, "Siren", "siren", port, journal.add),
            Device(FRONT_DOOR, "Front door", "lock", port, journal.add),
        )
    }
    try:
        for device in devices.values():
            device.connect()
        for device in devices.values():
            if not await asyncio.to_thread(device.wait, _CONNECT_S):
                raise StartError(f"the {device.name} cannot reach the broker")
        yield devices
    finally:
        for device in devices.values():
            device.disconnect()


@contextlib.asynccontextmanager
async def observed_broker(
    journal: Journal, port: int
) -> AsyncIterator[MessageObserver]:
    """Write down Earshot's messages."""
    observer = MessageObserver(journal, port, (f"{BASE}/#",))
    observer.connect()
    try:
        if not await asyncio.to_thread(observer.wait, _CONNECT_S):
            raise StartError("the journal cannot reach the broker")
        yield observer
    finally:
        observer.disconnect()


@contextlib.asynccontextmanager
async def furnished_house(
    say: Callable[[str], None] = lambda _: None,
    source: str | None = None,
    components: Sequence[Path] = (),
) -> AsyncIterator[House]:
    """Start everything and set the home up, all but Earshot.

    `source` replaces the air as what is heard; `say` gets one line per step
    done; `components` are as for `running_stack`. Raises StartError, HomeError.
    """
    async with contextlib.AsyncExitStack() as exits:
        stack = await exits.enter_async_context(running_stack(say, components))
        client = await exits.enter_async_context(HomeClient(stack.url))
        journal = Journal()
        air = Air(audio.household())
        url = source or ""
        if not url:
            url = await exits.enter_async_context(on_air(air))
        port = stack.broker_port
        await exits.enter_async_context(observed_broker(journal, port))
        devices = await exits.enter_async_context(running_devices(journal, port))
        owner = await home.sign_up(client)
        say("the owner has signed up")
        await home.add_broker(client, port)
        entities = {slug: device.entity for slug, device in devices.items()}
        await home.entities_appear(client, list(entities.values()))
        rooms = ("Kitchen", "Office", "Hall", "Hall")
        await home.furnish(
            client,
            dict(zip(entities.values(), rooms, strict=True)),
            exposed=[entity for slug, entity in entities.items() if slug != SIREN],
        )
        say("Home Assistant has found two lamps, a siren and a lock over MQTT")
        entities[SHOPPING_LIST] = await home.add_shopping_list(client)
        await observe_states(journal, client)
        yield House(stack, client, owner, journal, air, devices, url, entities)


async def give_ears(house: House, say: Callable[[str], None] = lambda _: None) -> House:
    """Set Earshot up, add the microphone and the two alerts. Raises HomeError."""
    client = house.client
    entry = await home.add_earshot(
        client, house.stack.server_port, await house.stack.token()
    )
    say("Earshot is set up with the model server")
    await home.add_microphone(client, entry, "Kitchen", house.url, "Kitchen")
    entities, sensors = await home.earshot_entities(client)
    for label in ALERTS:
        await home.add_alert(client, label, sensors[label], house.entities[SIREN])
    say("the kitchen's microphone listens; smoke and CO will start the siren")
    return replace(house, entities=house.entities | entities, sensors=sensors)


@contextlib.asynccontextmanager
async def running_house(
    say: Callable[[str], None] = lambda _: None,
    source: str | None = None,
    components: Sequence[Path] = (),
) -> AsyncIterator[House]:
    """Start and furnish the house and give it ears; otherwise as `furnished_house`."""
    async with furnished_house(say, source, components) as house:
        yield await give_ears(house, say)
