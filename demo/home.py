"""Sets the home up as a person would: owner, broker, rooms, devices, microphone, automation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import secrets
from typing import TYPE_CHECKING

from demo.client import HomeClient, HomeError, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


USER = "demo"
_APPEARS_S = 30.0


@dataclass(frozen=True)
class Owner:
    """Who may sign in to the home."""

    user: str
    password: str


async def running(client: HomeClient) -> None:
    """Wait until Home Assistant has started all it has."""
    async with asyncio.timeout(120):
        while (await client.request("GET", "/api/config"))["state"] != "RUNNING":
            await asyncio.sleep(0.1)


async def run_flow(
    client: HomeClient, kind: str, handler: object, *answers: Json
) -> Json:
    """Walk a configuration flow through its steps. Raises HomeError when it does not end.

    `kind` is the flow's folder below /api/config/config_entries.
    """
    path = f"/api/config/config_entries/{kind}"
    step: Json = await client.request("POST", path, {"handler": handler})
    for answer in answers:
        step = await client.request("POST", f"{path}/{step['flow_id']}", answer)
    if step["type"] != "create_entry":
        raise HomeError(
            f"the set-up of {handler} stops at step {step.get('step_id')}:"
            f" {step.get('errors') or step.get('reason')}"
        )
    return step


async def sign_up(client: HomeClient) -> Owner:
    """Create the owner, with a password nobody else can guess."""
    owner = Owner(USER, secrets.token_urlsafe(9))
    await client.sign_up(owner.user, owner.password)
    await running(client)
    return owner


async def add_broker(client: HomeClient, port: int) -> None:
    """Set MQTT up."""
    await run_flow(
        client,
        "flow",
        "mqtt",
        {
            "broker": "127.0.0.1",
            "port": port,
            "protocol": "5",
            "other_settings": {"set_client_cert": False, "set_ca_cert": "off"},
        },
    )


async def entities_appear(client: HomeClient, entities: Sequence[str]) -> None:
    """Wait until the entities exist and are available. Raises HomeError."""
    missing = list(entities)
    try:
        async with asyncio.timeout(_APPEARS_S):
            while missing:
                states = await client.states()
                missing = [
                    entity
                    for entity in entities
                    if states.get(entity, {}).get("state", "unavailable")
                    == "unavailable"
                ]
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise HomeError(
            f"Home Assistant shows no {', '.join(missing)}; it has: "
            + ", ".join(sorted(await client.states()))
        ) from None


async def add_area(client: HomeClient, name: str) -> str:
    """Return the id of the area called name, made if the home has none of that name."""
    for area in await client.call("config/area_registry/list"):
        if area["name"] == name:
            return str(area["area_id"])
    area = await client.call("config/area_registry/create", name=name)
    return str(area["area_id"])


async def furnish(
    client: HomeClient, areas: Mapping[str, str], exposed: Sequence[str]
) -> None:
    """Put each entity's device into an area by name; let voice control only `exposed`."""
    for entity, area in areas.items():
        registered = await client.call("config/entity_registry/get", entity_id=entity)
        await client.call(
            "config/device_registry/update",
            device_id=registered["device_id"],
            area_id=await add_area(client, area),
        )
        await client.call(
            "homeassistant/expose_entity",
            assistants=["conversation"],
            entity_ids=[entity],
            should_expose=entity in exposed,
        )


async def add_shopping_list(client: HomeClient) -> str:
    """Set the shopping list up for voice control, and return its entity."""
    entity = "todo.shopping_list"
    await run_flow(client, "flow", "shopping_list", {})
    await entities_appear(client, [entity])
    await client.call(
        "homeassistant/expose_entity",
        assistants=["conversation"],
        entity_ids=[entity],
        should_expose=True,
    )
    return entity


async def add_earshot(client: HomeClient, port: int, token: str) -> str:
    """Set Earshot up with the model server and return its entry's id."""
    step = await run_flow(
        client,
        "flow",
        "earshot",
        {
            "host": "127.0.0.1",
            "port": port,
            "token": token,
            "ssl": False,
            "verify_ssl": True,
        },
    )
    return str(step["result"]["entry_id"])


async def add_microphone(
    client: HomeClient, entry: str, name: str, url: str, area: str
) -> None:
    """Add a microphone that opens a URL and listens to commands and every sound."""
    await run_flow(
        client,
        "subentries/flow",
        [entry, "microphone"],
        {"next_step_id": "url"},
        {"name": name, "url": url, "area": await add_area(client, area)},
    )


async def earshot_entities(
    client: HomeClient,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return Earshot's entities by platform, and its binary sensors by label.

    Waits until they are available, which is when the microphone hears.
    """
    try:
        async with asyncio.timeout(_APPEARS_S):
            while "event" not in (found := await _registered(client))[0]:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise HomeError("Earshot's microphone has no entities: see its log") from None
    await entities_appear(client, [found[0]["event"], *found[1].values()])
    return found


async def _registered(client: HomeClient) -> tuple[dict[str, str], dict[str, str]]:
    entities: dict[str, str] = {}
    sensors: dict[str, str] = {}
    for registered in await client.call("config/entity_registry/list"):
        if registered["platform"] != "earshot":
            continue
        entity = str(registered["entity_id"])
        platform = entity.partition(".")[0]
        key = str(registered["unique_id"]).partition("_")[2]
        if platform == "binary_sensor":
            sensors[key] = entity
        elif platform != "event" or key == "sound":
            entities[platform] = entity
    return entities, sensors


async def add_alert(client: HomeClient, label: str, sensor: str, siren: str) -> None:
    """Make an automation of the shipped blueprint: this sound starts the siren."""
    await client.request(
        "POST",
        f"/api/config/automation/config/{label}_alert",
        {
            "alias": f"Sound alert: {label}",
            "use_blueprint": {
                "path": "earshot/sound_alert.yaml",
                # Alarms follow each other here faster than in any home.
                "input": {
                    "sounds": [sensor],
                    "sirens": {"entity_id": [siren]},
                    "cool_down": 0,
                },
            },
        },
    )
    await entities_appear(client, [f"automation.sound_alert_{label}"])
