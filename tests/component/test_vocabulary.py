"""What may be said in the home reaches the server, and is kept up to date there."""

import asyncio
from datetime import timedelta
from typing import Any

from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import (
    area_registry as ar,
    device_registry as dr,
    entity_registry as er,
    floor_registry as fr,
)
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.earshot.client import Client, Vocabulary
from custom_components.earshot.coordinator import POLL, pick_language
from custom_components.earshot.vocabulary import async_build

from .conftest import set_up, wait_for
from .fake_server import FakeServer


def names(vocabulary: dict[str, Any]) -> set[str]:
    """Return every entity's first name."""
    return {entity["names"][0] for entity in vocabulary["entities"]}


def pass_time(hass: HomeAssistant, seconds: float = 3) -> None:
    """Let quiet come."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=seconds))


async def quiet(hass: HomeAssistant, seconds: float = 3) -> None:
    """Let quiet come, and what follows from it."""
    pass_time(hass, seconds)
    await hass.async_block_till_done()
    await asyncio.sleep(0.1)


async def sent(hass: HomeAssistant, server: FakeServer, number: int) -> dict[str, Any]:
    """Wait for the vocabulary with this number."""
    pass_time(hass)
    await wait_for(lambda: len(server.vocabularies) >= number)
    assert len(server.vocabularies) == number
    return server.vocabularies[-1]


async def test_it_holds_names_aliases_areas_and_floors(
    hass: HomeAssistant, server: FakeServer
) -> None:
    floor = fr.async_get(hass).async_create("Ground floor", aliases={"downstairs"})
    area = ar.async_get(hass).async_create(
        "Kitchen", aliases={"cook place"}, floor_id=floor.floor_id
    )
    hall = ar.async_get(hass).async_create("Hall")
    entry = MockConfigEntry(domain="test")
    entry.add_to_hass(hass)
    device = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={("test", "1")}
    )
    dr.async_get(hass).async_update_device(device.id, area_id=hall.id)
    registry = er.async_get(hass)
    own = registry.async_get_or_create("light", "test", "1", original_name="Lamp")
    registry.async_update_entity(
        own.entity_id,
        area_id=area.id,
        aliases=[er.COMPUTED_NAME, "bulb", "bulb", " "],
    )
    of_device = registry.async_get_or_create(
        "light", "test", "2", original_name="Spot", device_id=device.id,
        config_entry=entry,
    )  # fmt: skip
    for entity_id, name in (
        (own.entity_id, "Lamp"),
        (of_device.entity_id, "Spot"),
        ("switch.bare", "Bare"),
        ("light.hidden", "Hidden"),
    ):
        hass.states.async_set(entity_id, "off", {"friendly_name": name})
        async_expose_entity(hass, "conversation", entity_id, name != "Hidden")
    vocabulary = async_build(hass, "en")
    found = {
        entity.names: (entity.domain, entity.area) for entity in vocabulary.entities
    }
    assert found == {
        ("Lamp", "bulb"): ("light", area.id),
        ("Mock Title Spot",): ("light", hall.id),
        ("Bare",): ("switch", None),
    }
    assert [(place.names, place.floor) for place in vocabulary.areas] == [
        (("Hall",), None),
        (("Kitchen", "cook place"), floor.floor_id),
    ]
    assert [place.names for place in vocabulary.floors] == [
        ("Ground floor", "downstairs")
    ]


async def test_a_server_reads_it(hass: HomeAssistant, server: FakeServer) -> None:
    ar.async_get(hass).async_create("Kitchen")
    hass.states.async_set("light.lamp", "off", {"friendly_name": "Lamp"})
    async_expose_entity(hass, "conversation", "light.lamp", True)
    await set_up(hass, server)
    vocabulary = await sent(hass, server, 1)
    assert vocabulary["language"] == "en"
    assert names(vocabulary) == {"Lamp"}
    assert vocabulary["areas"] == [
        {"id": "kitchen", "names": ["Kitchen"], "floor": None}
    ]


async def test_it_follows_changes_in_one_go(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    await sent(hass, server, 1)
    for name in ("One", "Two", "Three"):
        entity_id = f"light.{name.lower()}"
        hass.states.async_set(entity_id, "off", {"friendly_name": name})
        async_expose_entity(hass, "conversation", entity_id, True)
    assert names(await sent(hass, server, 2)) == {"One", "Two", "Three"}
    async_expose_entity(hass, "conversation", "light.two", False)
    assert names(await sent(hass, server, 3)) == {"One", "Three"}
    hass.states.async_remove("light.one")
    assert names(await sent(hass, server, 4)) == {"Three"}
    area = ar.async_get(hass).async_create("Hall")
    assert len((await sent(hass, server, 5))["areas"]) == 1
    ar.async_get(hass).async_update(area.id, aliases={"corridor"})
    vocabulary = await sent(hass, server, 6)
    assert vocabulary["areas"][0]["names"] == ["Hall", "corridor"]


async def test_a_change_while_the_server_compiles_is_not_forgotten(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    await sent(hass, server, 1)
    server.compiled.clear()
    ar.async_get(hass).async_create("Kitchen")
    await sent(hass, server, 2)
    ar.async_get(hass).async_create("Hall")
    await quiet(hass)
    server.compiled.set()
    await wait_for(lambda: len(server.vocabularies) == 3)
    assert [area["names"] for area in server.vocabularies[-1]["areas"]] == [
        ["Hall"],
        ["Kitchen"],
    ]


async def test_a_change_just_after_it_was_sent_is_not_forgotten(
    hass: HomeAssistant, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(hass, server)
    await sent(hass, server, 1)
    put = Client.put_vocabulary

    def change() -> None:
        ar.async_get(hass).async_create("Hall")
        pass_time(hass)

    async def put_then_change(client: Client, vocabulary: Vocabulary) -> object:
        report = await put(client, vocabulary)
        monkeypatch.undo()
        # Before whoever awaits this goes on.
        hass.loop.call_soon(change)
        return report

    monkeypatch.setattr(Client, "put_vocabulary", put_then_change)
    ar.async_get(hass).async_create("Kitchen")
    pass_time(hass)
    await wait_for(lambda: len(server.vocabularies) == 3)
    assert len(server.vocabularies[-1]["areas"]) == 2


async def test_what_is_known_is_not_sent_again(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    await sent(hass, server, 1)
    hass.states.async_set("light.unexposed", "off")
    async_expose_entity(hass, "conversation", "light.unexposed", False)
    await quiet(hass)
    await quiet(hass, POLL.total_seconds() + 1)
    await quiet(hass, POLL.total_seconds() + 10)
    assert len(server.vocabularies) == 1


async def test_a_server_that_lost_it_gets_it_again(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    await sent(hass, server, 1)
    server.info["speech"]["vocabulary"] = None
    await entry.runtime_data.coordinator.async_refresh()
    await sent(hass, server, 2)


async def test_a_server_that_refused_it_is_asked_again(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.vocabulary_status = 500
    entry = await set_up(hass, server)
    await quiet(hass)
    assert server.vocabularies == []
    server.vocabulary_status = 200
    # It still has an older one.
    server.info["speech"]["vocabulary"] = "old"
    await entry.runtime_data.coordinator.async_refresh()
    await sent(hass, server, 1)


async def test_it_waits_for_home_assistant_to_start(
    hass: HomeAssistant, server: FakeServer
) -> None:
    hass.set_state(CoreState.starting)
    await set_up(hass, server)
    ar.async_get(hass).async_create("Hall")
    await quiet(hass)
    assert server.vocabularies == []
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await hass.async_block_till_done()
    assert len((await sent(hass, server, 1))["areas"]) == 1


async def test_a_server_without_speech_gets_none(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.info["speech"] = None
    await set_up(hass, server)
    await quiet(hass)
    assert server.vocabularies == []


def test_nameless_things_are_left_out(hass: HomeAssistant) -> None:
    assert Vocabulary("en").encode() == (
        '{"language": "en", "entities": [], "areas": [], "floors": [], "items": [], "media": [], '
        '"sentences": [], "lists": {}}'
    )


def test_the_nearest_language_is_taken() -> None:
    assert pick_language("de-CH", ("en", "de")) == "de"
    assert pick_language("en-GB", ("en",)) == "en"
    assert pick_language("fi", ("en",)) == "en"
    assert pick_language("fi", ()) == "en"


async def test_what_may_be_played_comes_from_the_options(
    hass: HomeAssistant, server: FakeServer
) -> None:
    media = [" Jazz Radio ", "Abba", "", "Abba", "x" * 61]
    await set_up(hass, server, options={"media": media})
    await quiet(hass)
    assert server.vocabularies[-1]["media"] == ["Abba", "Jazz Radio"]
    assert async_build(hass, "en").media == ()
