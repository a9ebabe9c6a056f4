"""How Ray Serve is told what to run, and what its handles become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.serve.schema import ServeDeploySchema
import yaml

from model_server.api.auth import TokenFile
from model_server.deploy import ray as on_ray
from model_server.deploy.proxies import ReplicaLostError
from model_server.engines.base import EngineBusyError
from model_server.settings import Settings, SettingsError
from tests.server.homes import lamp_home
from tests.server.voices import say, silence

DEPLOY = Path("model_server/deploy")


@pytest.fixture(autouse=True)
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the guide starts Ray in."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", ["ray.yaml", "ray-llm.yaml"])
def test_ray_serve_takes_the_configuration(name: str) -> None:
    config = ServeDeploySchema.model_validate(read_yaml(DEPLOY / name))
    assert config.http_options.host == "127.0.0.1"
    assert config.proxy_location == "HeadOnly"


def test_rays_configuration_names_the_deployments_that_there_are(
    tmp_path: Path,
) -> None:
    (application,) = read_yaml(DEPLOY / "ray.yaml")["applications"]
    module, name = application["import_path"].split(":")
    assert (module, name) == (on_ray.__name__, on_ray.app.__name__)
    assert {each["name"] for each in application["deployments"]} == {
        on_ray.INGRESS.name,
        on_ray.MODELS.name,
        on_ray.LEDGER.name,
    }
    on_ray.app(application["args"] | {"data_dir": str(tmp_path)})


def test_vllm_under_ray_does_not_report_how_it_is_used() -> None:
    (application,) = read_yaml(DEPLOY / "ray-llm.yaml")["applications"]
    assert application["runtime_env"]["env_vars"]["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize("setting", [None, "1"])
def test_nothing_is_served_by_a_ray_that_reports_how_it_is_used(
    monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.delenv(on_ray.USAGE_STATS)
    if setting is not None:
        monkeypatch.setenv(on_ray.USAGE_STATS, setting)
    with pytest.raises(SettingsError, match="RAY_USAGE_STATS_ENABLED=0"):
        on_ray.app({})


def test_settings_of_the_process_that_listens_are_rays_own() -> None:
    with pytest.raises(SettingsError, match="port: on Ray set it under http_options"):
        on_ray.app({"port": 1})
    with pytest.raises(SettingsError, match="Setting spech"):
        on_ray.app({"spech": "embedded"})


class Answering:
    """One method of a deployment as Ray Serve's handle has it."""

    def __init__(self, *outcomes: object) -> None:
        """Answer with these, the last one in the end."""
        self.outcomes = [*outcomes]
        self.asked: list[tuple[object, ...]] = []
        self.cancelled = 0
        self.streams = False

    def options(self, *, stream: bool) -> Answering:
        self.streams = stream
        return self

    def __getattr__(self, method: str) -> Answering:
        """Any method; what it is called with is noted."""
        self.asked.append((method,))
        return self

    def remote(self, *args: object) -> Answering:
        self.asked[-1] += args
        return self

    def result(self, timeout_s: float) -> object:
        assert timeout_s == 3
        return next(iter(self))

    def __iter__(self) -> Iterator[object]:
        """The outcomes, in turn."""
        for outcome in self.outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def cancel(self) -> None:
        self.cancelled += 1


def lost_errors() -> list[Exception]:
    actor_gone = on_ray.RayActorError()
    no_replica = on_ray.ReplicaUnavailableError.__new__(on_ray.ReplicaUnavailableError)
    return [actor_gone, no_replica, on_ray.WorkerCrashedError()]


@pytest.mark.parametrize("error", lost_errors(), ids=lambda error: type(error).__name__)
def test_a_replica_that_is_gone_is_told_as_lost(error: Exception) -> None:
    with pytest.raises(ReplicaLostError, match=type(error).__name__):
        on_ray.RayHandle(Answering(error)).call("facts", timeout_s=3)
    with pytest.raises(ReplicaLostError):
        list(on_ray.RayHandle(Answering("a", error)).stream("describe"))


def test_replicas_that_are_all_busy_are_told_as_busy() -> None:
    full = on_ray.BackPressureError(num_queued_requests=1, max_queued_requests=1)
    with pytest.raises(EngineBusyError):
        on_ray.RayHandle(Answering(full)).call("classify", timeout_s=3)


def test_a_call_that_takes_too_long_is_given_up() -> None:
    handle = Answering(TimeoutError())
    with pytest.raises(TimeoutError):
        on_ray.RayHandle(handle).call("recognize", 1, 2, timeout_s=3)
    assert handle.asked == [("recognize", 1, 2)]
    assert handle.cancelled == 1


def test_an_answer_that_nobody_wants_any_more_is_given_up() -> None:
    handle = Answering("a", "b")
    pieces = on_ray.RayHandle(handle).stream("describe", "x")
    assert next(pieces) == "a"
    pieces.close()
    assert handle.streams
    assert handle.asked == [("describe", "x")]
    assert handle.cancelled == 1


async def test_deployments_do_what_their_parts_do(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path).model_dump()
    ledger = on_ray.Ledgers(settings)
    models = on_ray.Models(settings)
    state = ledger.state()
    assert (state.number, state.token) == (0, TokenFile(tmp_path).read())
    facts = models.facts()
    assert facts.speech is not None
    assert facts.sounds is not None
    number = ledger.reserve()
    ledger.publish(number, lamp_home())
    assert (await ledger.news(0, state.token)).number == number
    report = await models.learn(number, lamp_home())
    pcm = np.concatenate([silence(0.3), say("turn on the kitchen light"), silence(0.3)])
    said = await models.recognize(pcm, "en", number, None)
    assert said.text == "turn on the kitchen light"
    assert report.sentences > 0
    with pytest.raises(LookupError):
        await anext(models.describe(pcm, "?", None, 9))
