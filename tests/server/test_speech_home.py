"""A compiled home is kept by content, and a bad cache never hurts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from model_server.engines.base import Vocabulary, VocabularyEntity
from model_server.engines.embedded import home as home_module
from model_server.engines.embedded.grammar import _determinise
from model_server.engines.embedded.home import cached_home, compile_home, home_version
from model_server.engines.embedded.sentences import build_network
from model_server.engines.embedded.templates import read_plain_templates
from tests.server.homes import family_home, lamp_home

# Compiling takes long, and gives the same each time.
_compiled_once = cache(compile_home)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Vocabulary]:
    """The vocabularies that were compiled, not read."""
    done: list[Vocabulary] = []

    def counting(vocabulary: Vocabulary) -> home_module.Home:
        done.append(vocabulary)
        return _compiled_once(vocabulary)

    monkeypatch.setattr(home_module, "compile_home", counting)
    return done


def test_the_second_start_reads_what_the_first_compiled(
    tmp_path: Path, compiled: list[Vocabulary]
) -> None:
    first = cached_home(family_home(), tmp_path)
    second = cached_home(family_home(), tmp_path)
    assert second == first
    assert len(compiled) == 1


def test_another_vocabulary_has_another_version() -> None:
    lamp = lamp_home()
    renamed = replace(
        lamp, entities=(replace(lamp.entities[0], names=("Counter Light",)),)
    )
    assert home_version(lamp) == home_version(lamp_home())
    assert home_version(lamp) != home_version(renamed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"kitchen"', b'"chicken"', 1),
        lambda data: b"\xff\xfe" + data,
    ],
    ids=["empty", "cut short", "changed", "no text"],
)
def test_a_damaged_cache_is_compiled_again(
    tmp_path: Path, compiled: list[Vocabulary], damage: object
) -> None:
    whole = cached_home(lamp_home(), tmp_path)
    (file,) = tmp_path.iterdir()
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    assert cached_home(lamp_home(), tmp_path) == whole
    assert cached_home(lamp_home(), tmp_path) == whole
    assert len(compiled) == 2, "once at first, once after the damage"


def test_a_cache_that_cannot_be_written_costs_only_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, compiled: list[Vocabulary]
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    assert cached_home(lamp_home(), blocked).grammar.sentences > 0
    assert "Could not keep" in caplog.text


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[Vocabulary]
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    cached_home(lamp_home(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_old_homes_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(vocabulary: Vocabulary) -> home_module.Home:
        return replace(_compiled_once(lamp_home()), version=home_version(vocabulary))

    monkeypatch.setattr(home_module, "compile_home", renamed)
    for number in range(12):
        cached_home(
            Vocabulary(
                entities=(VocabularyEntity("light.a", "light", (f"Lamp {number}",)),)
            ),
            tmp_path,
        )
    assert len(list(tmp_path.iterdir())) == 8


def test_a_bigger_home_is_only_as_much_more_work() -> None:
    family = family_home()
    spots = tuple(
        VocabularyEntity(f"light.spot_{number}", "light", (f"Spot {number}",))
        for number in range(400)
    )
    big = replace(family, entities=(*family.entities, *spots))

    def work(vocabulary: Vocabulary) -> tuple[int, int]:
        network = build_network(vocabulary, read_plain_templates("en"))
        arcs, _ = _determinise(network)
        return len(arcs), sum(map(len, arcs))

    states, arcs = work(family)
    more_states, more_arcs = work(big)
    # Seven times the things to name: a list that was copied to each place where it
    # may stand, or names that met each other, would multiply these.
    assert states < more_states < states + len(spots)
    assert arcs < more_arcs < arcs + 50 * len(spots)
