"""Homes that the speech tests and benchmarks live in."""

from __future__ import annotations

from model_server.engines.base import Vocabulary, VocabularyEntity, VocabularyPlace

_FLOORS = {"Ground Floor": ("ground",), "Upstairs": ("first floor",), "Basement": ()}

_AREAS = {
    "Kitchen": "ground_floor",
    "Office": "ground_floor",
    "Living Room": "ground_floor",
    "Hallway": "ground_floor",
    "Garage": "ground_floor",
    "Garden": None,
    "Bedroom": "upstairs",
    "Bathroom": "upstairs",
    "Kids Room": "upstairs",
    "Guest Room": "upstairs",
}

_ENTITIES = {
    "light": (
        "Bed Light@Bedroom",
        "Standing Light@Office",
        "Basement Light",
        "Ceiling Lamp|big lamp@Living Room",
        "Kitchen Counter@Kitchen",
        "Kitchen Lights@Kitchen",
        "Office Lights@Office",
        "Hallway Lamp@Hallway",
        "Garage Light@Garage",
        "Patio Lights@Garden",
        "Bathroom Mirror@Bathroom",
        "Night Light@Kids Room",
        "Reading Lamp@Guest Room",
        "Fairy Lights@Garden",
        "Desk Lamp@Office",
    ),
    "switch": (
        "Coffee Machine|espresso@Kitchen",
        "Washing Machine@Bathroom",
        "Printer@Office",
        "Christmas Tree@Living Room",
        "Garden Pump@Garden",
        "Dehumidifier@Bathroom",
        "Heater@Guest Room",
        "Sprinkler@Garden",
    ),
    "fan": ("Ceiling Fan@Living Room", "Bathroom Fan@Bathroom", "Desk Fan@Office"),
    "cover": (
        "Sliding Door@Office",
        "Garage Door@Garage",
        "Kitchen Window@Kitchen",
        "Office Curtains@Office",
        "Bedroom Blinds@Bedroom",
        "Living Room Shutters@Living Room",
        "Skylight@Bathroom",
    ),
    "lock": ("Front Door@Hallway", "Back Door@Kitchen", "Garden Gate@Garden"),
    "media_player": (
        "TV|television@Living Room",
        "Kitchen Radio@Kitchen",
        "Bedroom Speaker@Bedroom",
        "Sonos@Office",
    ),
    "climate": ("EcoBee@Living Room", "Bedroom Heating@Bedroom"),
    "weather": ("New York", "Home"),
    "sensor": (
        "Outdoor Humidity@Garden",
        "Outdoor Temperature@Garden",
        "Power Consumption",
        "Mailbox",
    ),
    "binary_sensor": ("Hallway Motion@Hallway", "Bathroom Leak@Bathroom"),
    "scene": ("Movie Night@Living Room", "Good Morning"),
    "script": ("Party Time", "Goodnight Routine"),
    "vacuum": ("Rosie@Living Room",),
    "input_boolean": ("Guest Mode", "Vacation Mode"),
    "person": ("Alice", "Robert"),
    "button": ("Doorbell Chime@Hallway",),
    "todo": ("Shopping List", "Chores"),
}


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_")


def family_home() -> Vocabulary:
    """Return a home of 60 entities in 10 areas on 3 floors."""
    entities = []
    for domain, names in _ENTITIES.items():
        for spelled in names:
            said, _, area = spelled.partition("@")
            first, *aliases = said.split("|")
            entities.append(
                VocabularyEntity(
                    id=f"{domain}.{_slug(first)}",
                    domain=domain,
                    names=(first, *aliases),
                    area=_slug(area) or None,
                )
            )
    return Vocabulary(
        language="en",
        entities=tuple(entities),
        areas=tuple(
            VocabularyPlace(id=_slug(name), names=(name,), floor=floor)
            for name, floor in _AREAS.items()
        ),
        floors=tuple(
            VocabularyPlace(id=_slug(name), names=(name, *aliases))
            for name, aliases in _FLOORS.items()
        ),
        items=("Nutritional Yeast", "AA Batteries"),
        media=("Jazz Radio", "Morning News"),
    )


def lamp_home() -> Vocabulary:
    """Return the smallest home worth talking to: one kitchen, one lamp."""
    return Vocabulary(
        entities=(
            VocabularyEntity("light.kitchen", "light", ("Kitchen Light",), "kitchen"),
        ),
        areas=(VocabularyPlace("kitchen", ("Kitchen",)),),
    )
