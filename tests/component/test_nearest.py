"""One sentence that several microphones hear is obeyed once, where it is heard best."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
import time
from typing import Any

from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import area_registry as ar
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from custom_components.earshot.nearest import WAIT_S
from custom_components.earshot.outcome import NEEDS_CONFIRMATION
from custom_components.earshot.rights import UNTRUSTED

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer, FakeStream
from .house import Furnish

LATE_S = 3 * WAIT_S


class Rooms:
    """A kitchen and a hall, each with a lamp and a microphone, and one at the gate."""

    def __init__(self, hass: HomeAssistant, witness: Witness) -> None:
        """Begin with nothing done."""
        self.witness = witness
        self.entry: MockConfigEntry
        self.lit = async_mock_service(hass, "light", "turn_on")
        self.unlocked = async_mock_service(hass, "lock", "unlock")
        self.streams: dict[str, FakeStream] = {}

    async def say(self, text: str, **levels: float | None) -> None:
        """Let microphones hear a sentence at once, in this order."""
        await asyncio.gather(
            *(
                self.streams[name].transcript(text, seconds=0, level=level)
                for name, level in levels.items()
            )
        )

    def told(self, room: str) -> list[tuple[str, str | None]]:
        """Return what a microphone published of commands: texts and refusals."""
        messages = self.witness.json(f"earshot/{room}/intent")
        return [(message["text"], message["refused"]) for message in messages]

    async def quiet(self) -> None:
        """Wait until nothing more can come of what was said."""
        await asyncio.sleep(LATE_S)


def targets(calls: list[ServiceCall]) -> list[Any]:
    """Return what was acted on."""
    return [call.data["entity_id"] for call in calls]


type SetUp = Callable[..., Coroutine[None, None, Rooms]]


@pytest.fixture
def rooms(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> SetUp:
    """Set microphones up in rooms; the gate's is outdoors."""

    async def build(*names: str) -> Rooms:
        places = {"gate": "outdoor"}
        microphones = [
            microphone(
                {"url": str(tone)},
                name.title(),
                area=ar.async_get(hass).async_get_or_create(name.title()).id,
                **({"place": places[name]} if name in places else {}),
            )
            for name in names
        ]
        entry = await set_up(hass, server, *microphones)
        # The integration's own lights bring the real services: they are replaced now.
        house = Rooms(hass, witness)
        house.entry = entry
        for name in names:
            furnish(f"light.{name}", f"{name} lamp", name.title())
        furnish("lock.door", "front door", "Hall", state="locked")
        for number in range(len(names)):
            stream = await server.stream(number + 1)
            house.streams[stream.start["microphone"]] = stream
        runtime = house.entry.runtime_data
        await wait_for(lambda: all(m.hears for m in runtime.microphones.values()))
        return house

    return build


@pytest.mark.parametrize(
    ("levels", "best"),
    [
        ({"kitchen": -40, "hall": -20}, "hall"),
        ({"kitchen": -20, "hall": -40}, "kitchen"),
        ({"kitchen": -40, "hall": -41, "bath": -12}, "bath"),
        # Of the same level, or of none, the first.
        ({"hall": -20, "kitchen": -20}, None),
        ({"hall": None, "kitchen": None}, None),
        ({"hall": None, "kitchen": -60}, "kitchen"),
    ],
)
async def test_the_best_level_wins(
    rooms: SetUp, levels: dict[str, float | None], best: str | None
) -> None:
    house = await rooms("kitchen", "hall", "bath")
    await house.say("turn on the light", **levels)
    await wait_for(lambda: house.lit)
    await house.quiet()
    (target,) = targets(house.lit)
    heard = {name: house.told(name) for name in levels}
    (obeyed,) = (name for name in heard if heard[name])
    assert target == [f"light.{obeyed}"]
    assert best in (None, obeyed)
    # Devices act on this topic; and of the others not even the text is published.
    assert len(house.witness.on("earshot/intent/HassTurnOn")) == 1
    (text,) = (m for m in house.witness.heard if m.topic.endswith("/transcript"))
    assert text.topic == f"earshot/{obeyed}/transcript"
    published = house.witness.json(text.topic)[0]
    assert published["level_dbfs"] == levels[obeyed]


async def test_case_marks_and_spaces_make_no_other_sentence(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    await house.streams["kitchen"].transcript("Turn on  the light.", level=-40)
    await house.streams["hall"].transcript("turn on the light", level=-20)
    await wait_for(lambda: house.lit)
    await house.quiet()
    assert targets(house.lit) == [["light.hall"]]


async def test_what_arrives_late_is_not_obeyed_again(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    began = time.monotonic()
    await house.say("turn on the light", kitchen=-40)
    await wait_for(lambda: house.lit)
    # A camera that is a second behind, and the arrival of what it heard.
    await asyncio.sleep(LATE_S)
    await house.streams["hall"].transcript(
        "turn on the light", level=-10, later_s=began + 1.7 - time.monotonic()
    )
    await house.quiet()
    assert targets(house.lit) == [["light.kitchen"]]
    assert house.told("hall") == []


async def test_different_sentences_are_two_commands(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    await house.streams["kitchen"].transcript("turn on the kitchen lamp", level=-20)
    await house.streams["hall"].transcript("turn on the hall lamp", level=-40)
    await wait_for(lambda: len(house.lit) == 2)


async def test_one_sentence_at_two_times_is_two_commands(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    await house.streams["kitchen"].transcript("turn on the light", level=-20)
    await house.streams["hall"].transcript("turn on the light", level=-20, later_s=4)
    await wait_for(lambda: len(house.lit) == 2)


async def test_the_same_microphone_twice_is_two_commands(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    for number in range(2):
        for name, level in (("kitchen", -20), ("hall", -40)):
            await house.streams[name].transcript(
                "turn on the light", level=level, seconds=0.4, later_s=number
            )
    await wait_for(lambda: len(house.lit) == 2)
    await house.quiet()
    assert targets(house.lit) == [["light.kitchen"]] * 2


async def test_nobody_waits_for_a_microphone_that_is_not_there(rooms: SetUp) -> None:
    house = await rooms("kitchen")

    async def seconds() -> float:
        began = time.monotonic()
        house.lit.clear()
        await house.say("turn on the light", kitchen=-20)
        await wait_for(lambda: house.lit)
        return time.monotonic() - began

    await seconds()
    assert min([await seconds() for _ in range(3)]) < WAIT_S


async def test_a_microphone_that_is_switched_off_is_not_waited_for(
    rooms: SetUp,
) -> None:
    house = await rooms("kitchen", "hall")
    runtime = house.entry.runtime_data
    for device in runtime.microphones.values():
        if device.slug == "hall":
            await device.async_silence()
    began = time.monotonic()
    await house.say("turn on the light", kitchen=-20)
    await wait_for(lambda: house.lit)
    assert time.monotonic() - began < 10 * WAIT_S
    assert runtime.nearest.listeners == {"kitchen"}


@pytest.mark.parametrize("louder", ["kitchen", "hall"])
@pytest.mark.parametrize("late", [False, True])
async def test_an_answer_reaches_who_asked(
    rooms: SetUp, louder: str, late: bool
) -> None:
    house = await rooms("kitchen", "hall")
    await house.say("unlock the front door", kitchen=-20, hall=-40)
    await wait_for(lambda: house.told("kitchen"))
    assert house.told("kitchen")[0][1] == NEEDS_CONFIRMATION
    levels = {"kitchen": -40.0, "hall": -40.0, louder: -20.0}
    await house.say("yes please", hall=levels["hall"])
    if late:
        await asyncio.sleep(LATE_S)
    await house.say("yes please", kitchen=levels["kitchen"])
    await wait_for(lambda: house.unlocked)
    await house.quiet()
    assert len(house.unlocked) == 1
    assert house.told("hall") == []
    assert house.told("kitchen")[1] == ("yes please", None)


async def test_of_two_who_asked_one_is_answered_and_the_other_asks_no_more(
    rooms: SetUp, furnish: Furnish
) -> None:
    house = await rooms("kitchen", "hall")
    furnish("lock.back", "back door", "Kitchen", state="locked")
    await house.say("unlock the front door", hall=-20)
    await house.say("unlock the back door", kitchen=-20)
    await wait_for(lambda: house.told("kitchen") and house.told("hall"))
    await house.say("yes please", kitchen=-30, hall=-25)
    await wait_for(lambda: house.unlocked)
    await house.quiet()
    await house.say("yes please", kitchen=-30)
    await house.quiet()
    assert targets(house.unlocked) == ["lock.door"]


async def test_what_is_left_to_another_ends_a_question(rooms: SetUp) -> None:
    house = await rooms("kitchen", "hall")
    await house.say("unlock the front door", kitchen=-20)
    await wait_for(lambda: house.told("kitchen"))
    await house.say("turn on the light", kitchen=-40, hall=-20)
    await wait_for(lambda: house.lit)
    await house.say("yes please", kitchen=-20)
    await house.quiet()
    assert house.unlocked == []


@pytest.mark.parametrize(
    ("gate", "kitchen"), [(-20, -40), (-20, -20), (None, None), (None, -20)]
)
async def test_who_shouts_outdoors_borrows_no_rights(
    rooms: SetUp, gate: float | None, kitchen: float | None
) -> None:
    house = await rooms("kitchen", "gate")
    for text in ("unlock the front door", "turn on the kitchen lamp"):
        await house.say(text, kitchen=kitchen, gate=gate)
    await wait_for(lambda: len(house.told("gate")) == 2)
    await house.say("yes please", kitchen=kitchen, gate=gate)
    await house.quiet()
    assert {refused for _, refused in house.told("gate")} == {UNTRUSTED}
    assert house.told("kitchen") == []
    assert (house.unlocked, house.lit) == ([], [])


async def test_a_yes_shouted_outdoors_does_not_answer_indoors(rooms: SetUp) -> None:
    house = await rooms("kitchen", "gate")
    await house.say("unlock the front door", kitchen=-20)
    await wait_for(lambda: house.told("kitchen"))
    await house.say("yes please", kitchen=-40, gate=-20)
    await house.quiet()
    await house.say("yes please", kitchen=-20)
    await house.quiet()
    assert house.unlocked == []


async def test_a_gate_that_hears_it_late_and_louder_takes_the_question_back(
    rooms: SetUp,
) -> None:
    house = await rooms("kitchen", "gate")
    began = time.monotonic()
    await house.say("unlock the front door", kitchen=-40)
    await wait_for(lambda: house.told("kitchen"))
    # Heard late, however long this machine took until here, and said at the same time.
    await house.streams["gate"].transcript(
        "unlock the front door",
        seconds=0,
        level=-20,
        later_s=began + 0.2 - time.monotonic(),
    )
    await house.quiet()
    await house.streams["kitchen"].transcript("yes please", seconds=0, level=-40)
    await house.quiet()
    assert house.unlocked == []


async def test_who_speaks_indoors_is_obeyed_though_the_gate_hears_it_too(
    rooms: SetUp,
) -> None:
    house = await rooms("kitchen", "gate")
    await house.say("unlock the front door", gate=-50, kitchen=-20)
    await wait_for(lambda: house.told("kitchen"))
    await house.say("yes please", gate=-50, kitchen=-20)
    await wait_for(lambda: house.unlocked)
    assert house.told("gate") == []


async def test_unloading_while_it_waits_leaves_nothing_behind(
    hass: HomeAssistant, rooms: SetUp
) -> None:
    house = await rooms("kitchen", "hall")
    await house.say("turn on the light", kitchen=-20)
    await asyncio.sleep(WAIT_S / 4)
    assert await hass.config_entries.async_unload(house.entry.entry_id)
    await house.quiet()
    assert len(house.lit) <= 1
