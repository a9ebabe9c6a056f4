"""Earshot asks Earshot: the remote engine at another server's own OpenAI door."""

from __future__ import annotations

from collections.abc import Generator
import json
from typing import Any

import numpy as np
from pydantic import SecretStr
import pytest

from model_server.engines.base import CUT, EngineError, UnusableRequestError
from model_server.engines.remote import RemoteEngine
from model_server.settings import RemoteSettings
from tests.server.homes import lamp_home
from tests.server.openai_door import Door, openai_door
from tests.server.voices import say, silence


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with openai_door(tmp_path_factory.mktemp("door")) as opened:
        yield opened


def remote(door: Door, **more: Any) -> RemoteEngine:
    """The engine that asks this door. It waits long: eight may share two cores."""
    given = {
        "url": door.base_url,
        "model": door.model,
        "api_key": SecretStr(door.token),
        "timeout_s": 110,
    }
    return RemoteEngine(RemoteSettings(**(given | more)))


PCM = np.concatenate([silence(0.3), say("turn on the kitchen light"), silence(0.2)])


def test_json_by_a_schema_arrives_valid(door: Door) -> None:
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["dog", "cat"]}, "loud": {"type": "boolean"}},
        "required": ["animal", "loud"],
        "additionalProperties": False,
    }
    answer = "".join(remote(door).describer.describe(PCM, "Which animal?", schema))

    assert json.loads(answer)["animal"] in {"dog", "cat"}


def test_a_command_comes_back_within_the_homes_vocabulary(door: Door) -> None:
    recognizer = remote(door).recognizer
    recognizer.set_vocabulary(lamp_home())
    said = recognizer.recognize(PCM, "en")

    # The weights are random: what it says is anything, how it says it is not.
    assert bool(said.text) == (said.rejected is None)
    if said.intent is not None:
        assert set(said.intent.slots.values()) <= {"Kitchen Light", "Kitchen"}


def test_a_description_that_is_cut_there_is_known_to_be_cut_here(door: Door) -> None:
    answer = remote(door).describer.describe(PCM, "What?", max_tokens=3)
    pieces = []
    try:
        while True:
            pieces.append(next(answer))
    except StopIteration as end:
        cut = end.value

    # Random weights babble on.
    assert "".join(pieces)
    assert cut == CUT


def test_a_schema_that_the_other_server_cannot_follow_is_refused_by_it(
    door: Door,
) -> None:
    schema = {"type": "string", "minLength": 5, "maxLength": 4}
    with pytest.raises(UnusableRequestError, match="400"):
        list(remote(door).describer.describe(PCM, "What?", schema))


def test_the_token_of_the_other_server_is_the_key(door: Door) -> None:
    wrong = remote(door, api_key=SecretStr("wrong")).describer
    with pytest.raises(
        EngineError, match=r"refuses the key \(401\): set remote.api_key"
    ):
        list(wrong.describe(PCM, "What?"))


def test_a_model_that_the_other_server_lacks_is_named(door: Door) -> None:
    wrong = remote(door, model="gpt-4o-audio").describer
    with pytest.raises(EngineError, match=r"no model 'gpt-4o-audio' .*\(404\)"):
        list(wrong.describe(PCM, "What?"))
