"""The compose file beside vLLM: what can be known of it without a container engine."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

import pytest
import yaml

from model_server.settings import load_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "model_server" / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

# The keys of the compose specification that the file uses, and what they hold.
KINDS: dict[str, type | tuple[type, ...]] = {
    "build": dict,
    "image": str,
    "entrypoint": list,
    "command": list,
    "environment": dict,
    "ports": list,
    "expose": list,
    "networks": list,
    "volumes": list,
    "tmpfs": list,
    "read_only": bool,
    "cap_drop": list,
    "security_opt": list,
    "shm_size": str,
    "healthcheck": dict,
    "deploy": dict,
    "restart": str,
}


def option(name: str) -> str:
    """A flag of vLLM's command."""
    flags = dict(
        flag.split("=", 1) for flag in SERVICES["vllm"]["command"] if "=" in flag
    )
    value: str = flags[name]
    return value


def base_image(containerfile: Path) -> str:
    """What an image is built from, with arguments at their defaults."""
    text = containerfile.read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    found = re.search(r"^FROM (\S+)", text, re.MULTILINE)
    assert found is not None
    return re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], found[1])


def test_the_file_has_the_shape_of_the_specification() -> None:
    assert COMPOSE.keys() == {"name", "services", "networks", "volumes"}
    for service in SERVICES.values():
        for key, value in service.items():
            assert isinstance(value, KINDS[key]), key
        assert all(isinstance(value, str) for value in service["environment"].values())
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source.startswith("${MODELS") or source in COMPOSE["volumes"]


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_no_container_may_more_than_it_must(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    forbidden = {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"}
    assert not forbidden & service.keys()
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_image_has_a_version(service: dict[str, Any]) -> None:
    build = service["build"]
    containerfile = (FOLDER / build["context"] / build["dockerfile"]).resolve()
    assert containerfile.is_file()
    for image in (service["image"], base_image(containerfile)):
        assert re.search(r":v?\d+\.\d+(\.\d+)?[\w.-]*$", image), image


def test_the_version_of_vllm_is_the_same_in_all_three_places() -> None:
    containerfile = FOLDER / SERVICES["vllm"]["build"]["dockerfile"]
    _, version = base_image(containerfile).rsplit(":v", 1)

    assert tuple(map(int, version.split("."))) >= (0, 14)
    assert f'"vllm[audio]=={version}"' in containerfile.read_text()
    assert SERVICES["vllm"]["image"].endswith(f":{version}")


def test_earshots_stage_is_one_of_its_containerfile() -> None:
    build = SERVICES["earshot"]["build"]
    text = (FOLDER / build["context"] / build["dockerfile"]).resolve().read_text()

    assert re.search(rf"^FROM .* AS {build['target']}$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text


def test_only_earshot_can_be_reached_and_on_this_machine_unless_told() -> None:
    published = {name: each.get("ports", []) for name, each in SERVICES.items()}

    assert published == {
        "earshot": ["${EARSHOT_ADDRESS:-127.0.0.1}:10380:10380"],
        "vllm": [],
    }


def test_the_model_has_no_way_out_and_its_weights_cannot_be_written() -> None:
    vllm = SERVICES["vllm"]

    assert vllm["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert vllm["environment"]["HF_HUB_OFFLINE"] == "1"
    assert vllm["environment"]["VLLM_NO_USAGE_STATS"] == "1"
    (models,) = (each for each in vllm["volumes"] if "/models" in each)
    assert models.endswith(":/models:ro")
    assert vllm["command"][0].startswith("/models/")


def test_earshot_finds_the_model_under_the_name_port_and_key_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SERVICES["earshot"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()

    assert (settings.speech, settings.descriptions) == ("remote", "remote")
    assert settings.remote.fallback
    assert settings.remote.url == f"http://vllm:{option('--port')}/v1"
    assert settings.remote.model == option("--served-model-name")
    assert settings.remote.api_key is not None
    key = settings.remote.api_key.get_secret_value()
    assert key == SERVICES["vllm"]["environment"]["VLLM_API_KEY"]


def test_secrets_and_paths_come_from_outside_and_are_asked_for() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))
    example = dict(
        line.split("=", 1)
        for line in (FOLDER / "example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )

    assert wanted == {"VLLM_KEY", "MODELS"}
    assert example.keys() == wanted | optional
    assert set(example.values()) == {""}
    assert "/model_server/deploy/compose/.env" in (ROOT / ".gitignore").read_text()


def test_the_model_is_given_time_to_load_before_it_counts_as_unhealthy() -> None:
    check = SERVICES["vllm"]["healthcheck"]

    assert check["start_period"] == "15m"
    assert f":{option('--port')}/health" in check["test"][-1]
    compile(check["test"][-1], "healthcheck", "exec")
