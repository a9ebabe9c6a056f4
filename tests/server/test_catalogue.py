"""The catalogue of sounds, and what it says of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_server.catalogue import CatalogueError, load_catalogue
from model_server.engines.embedded.sounds import EmbeddedClassifier

ENTRY = "bark:\n  name: Dog\n  group: animals\n  default: true\n"


def test_every_label_is_scored_by_the_network_or_is_an_alarm() -> None:
    catalogue = load_catalogue()
    scored = {slug for slug, label in catalogue.items() if label.source == "classifier"}
    alarms = {slug for slug, label in catalogue.items() if label.source == "rhythm"}
    gestures = {slug for slug, label in catalogue.items() if label.group == "gestures"}

    assert scored == set(EmbeddedClassifier().labels)
    assert alarms == {"smoke", "co", "low_battery"}
    assert gestures == set(catalogue) - scored - alarms


def test_alarms_come_first_and_have_home_assistants_device_classes() -> None:
    catalogue = load_catalogue()

    assert list(catalogue)[:2] == ["smoke", "co"]
    assert catalogue["smoke"].device_class == "smoke"
    assert catalogue["co"].device_class == "carbon_monoxide"
    assert catalogue["low_battery"].device_class == "battery"
    assert {
        label.device_class
        for slug, label in catalogue.items()
        if slug not in ("smoke", "co", "low_battery")
    } == {"sound"}


def test_what_a_home_must_hear_is_on_by_default_and_talk_is_not() -> None:
    catalogue = load_catalogue()
    default = {slug for slug, label in catalogue.items() if label.default}

    assert {"smoke", "co", "glass_break", "baby_cry", "bark"} <= default
    assert not catalogue["speaking"].default


def test_release_is_never_above_onset() -> None:
    for label in load_catalogue().values():
        assert 0 <= label.off_score <= label.on_score <= 1
        assert 1 <= label.k <= label.n


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ENTRY + "  loud: 3\n", "bark → loud"),
        (ENTRY + "  on_score: high\n", "bark → on_score"),
        (ENTRY + "  on_score: 0.2\n  off_score: 0.5\n", "bark: off_score"),
        (ENTRY + "  k: 3\n  n: 2\n", "bark: k may not"),
        (ENTRY.replace("bark", "Dog barks"), "Dog barks"),
        (ENTRY.replace("animals", "pets"), "bark → group"),
        ("- bark\n", "dictionary"),
        ("bark: [", "not YAML"),
    ],
)
def test_a_bad_catalogue_says_where_and_why(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "sounds.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(CatalogueError, match=told):
        load_catalogue(path)


def test_a_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.yaml cannot be read"):
        load_catalogue(tmp_path / "none.yaml")


def test_a_minimal_entry_gets_the_usual_decision(tmp_path: Path) -> None:
    path = tmp_path / "sounds.yaml"
    path.write_text(ENTRY, encoding="utf-8")

    label = load_catalogue(path)["bark"]

    assert (label.device_class, label.source) == ("sound", "classifier")
    assert label.off_score < label.on_score
