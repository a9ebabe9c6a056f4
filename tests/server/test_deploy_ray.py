"""Real Ray: many replicas, eight microphones, and replicas that are killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
import json
import os
from pathlib import Path
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Self

import httpx
import numpy as np
import psutil
import pytest
import ray
from ray.util import list_named_actors
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
import yaml

from model_server.api.auth import TokenFile
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.deploy.ingress import REPLICA_HEADER
from tests.server.client import VOCABULARY
from tests.server.test_api_stream import alarm
from tests.server.voices import say, silence

# Ray's own start takes most of it; against hanging for ever, not a measure.
pytestmark = pytest.mark.timeout(600)

CONFIG = Path("model_server/deploy/ray.yaml")
T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
COMMANDS = [
    f"turn {way} the {name}"
    for name in ("kitchen lights", "office lamp")
    for way in ("on", "off")
]
MICROPHONES = 8


@dataclass
class Cluster:
    """A running `serve run` on a Ray of its own."""

    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=60)

    def replicas(self, deployment: str) -> set[str]:
        """Ids of the replicas that Ray has processes for."""
        prefix = f"SERVE_REPLICA::earshot#{deployment}#"
        return {
            actor["name"].removeprefix(prefix)
            for actor in list_named_actors(all_namespaces=True)
            if actor["name"].startswith(prefix)
        }

    def kill(self, deployment: str, replica: str) -> None:
        """End a replica's process as a crash would."""
        name = f"SERVE_REPLICA::earshot#{deployment}#{replica}"
        actor = ray.get_actor(name, namespace="serve")
        pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(pid, signal.SIGKILL)

    async def versions(self) -> dict[str, str | None]:
        """The vocabulary's version at each ingress replica."""
        told: dict[str, str | None] = {}
        async with self.http() as http:
            while len(told) < 2:
                answer = await http.get("/v1/info")
                told[answer.headers[REPLICA_HEADER]] = answer.json()["speech"][
                    "vocabulary"
                ]
        return told

    async def retried(self) -> float:
        """Calls that were repeated, over both ingress replicas."""
        counts: dict[str, float] = {}
        async with self.http() as http:
            while len(counts) < 2:
                answer = await http.get("/metrics")
                counts[answer.headers[REPLICA_HEADER]] = sum(
                    float(line.split()[-1])
                    for line in answer.text.splitlines()
                    if line.startswith("earshot_retried_calls_total")
                )
        return sum(counts.values())


async def until(true: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait for a state; pytest's timeout ends it if it never comes."""
    while True:
        found = true()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Ray on loopback, and the configuration of the repository with other numbers."""
    # Short, because the names of Unix sockets are; everything Ray writes goes here.
    folder = Path(tempfile.mkdtemp(prefix="er-", dir="/tmp"))
    before = dict(os.environ)
    others = set(psutil.Process().children(recursive=True))
    os.environ |= {
        "TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Otherwise Ray keeps one in the home folder.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(Path.cwd()),
    }
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"] = port = free_port()
    application = config["applications"][0]
    application["args"] |= {"data_dir": str(folder / "data"), "idle_s": 300}
    (folder / "ray.yaml").write_text(yaml.safe_dump(config))
    address = start_ray()
    serve = Path(sys.executable).with_name("serve")
    command = [str(serve), "run", str(folder / "ray.yaml"), "--address", address]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_health(url, process, log)
        yield Cluster(url, TokenFile(folder / "data").read())
    finally:
        # Of other tests in this process, servers and a resource tracker may still run.
        started = [
            each
            for each in set(psutil.Process().children(recursive=True)) - others
            if "ray" in command_of(each)
        ]
        process.kill()
        process.wait()
        ray.shutdown()
        # They end by themselves, and write logs until then.
        while any(lives(each) for each in started):
            time.sleep(0.05)
        os.environ.clear()
        os.environ |= before
        shutil.rmtree(folder)


def command_of(process: psutil.Process) -> str:
    """Its command line; empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def lives(process: psutil.Process) -> bool:
    """Whether it runs: what has ended may wait for its parent, which is no concern."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def start_ray() -> str:
    """Ray without dashboard; its address. A busy machine may need more than one try."""
    for attempt in range(3):
        try:
            context = ray.init(
                num_cpus=6,
                object_store_memory=100 << 20,
                include_dashboard=False,
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
            )
        except Exception:
            # It allows itself 30 s.
            ray.shutdown()
            if attempt == 2:
                raise
        else:
            return str(context.address_info["gcs_address"])
    raise AssertionError


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the application answers."""
    while process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@dataclass
class Gap:
    """An interruption: last heard, gone on at, and how the connection ended."""

    heard: float
    resumed: float
    code: int | None


@dataclass
class Microphone:
    """Streams as a microphone does: what passes while nobody listens is gone."""

    cluster: Cluster
    name: str
    news: asyncio.Event = field(default_factory=asyncio.Event)
    position: int = 0
    """Samples since T0."""
    replica: str = ""
    ready: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Cluster, name: str) -> AsyncGenerator[Self]:
        """A microphone whose stream is open."""
        microphone = cls(cluster, name)
        microphone._socket = await microphone._connect()
        reader = asyncio.create_task(microphone._read())
        try:
            yield microphone
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await microphone._socket.close()

    async def _connect(self) -> ClientConnection:
        """Connect until somebody is ready."""
        url = self.cluster.url.replace("http", "ws") + "/v1/stream"
        began, passed = time.monotonic(), self.position
        while True:
            with suppress(ConnectionClosed, InvalidStatus, OSError):
                websocket = await connect(url, additional_headers=self.cluster.headers)
                elapsed = time.monotonic() - began
                self.position = passed + round(elapsed * SAMPLE_RATE)
                start = {
                    "type": "start",
                    "microphone": self.name,
                    "tasks": ["sounds", "commands"],
                    "time": (T0 + timedelta(seconds=self.seconds)).isoformat(),
                }
                await websocket.send(json.dumps(start))
                self.ready = json.loads(await websocket.recv())
                assert self.ready["type"] == "ready", self.ready
                assert websocket.response is not None
                self.replica = websocket.response.headers[REPLICA_HEADER]
                return websocket

    async def _read(self) -> None:
        """Collect messages; connect again when the stream breaks."""
        while True:
            try:
                message = json.loads(await self._socket.recv())
            except ConnectionClosed:
                if self.kinds("stopped"):
                    return
                heard = max(
                    (at(each["time"]) for each in self.kinds("level")), default=0
                )
                code = self._socket.close_code
                self._socket = await self._connect()
                self.gaps.append(Gap(heard, self.seconds, code))
            else:
                self.messages.append(message)
            self.news.set()

    @property
    def seconds(self) -> float:
        """Where the microphone is, since T0."""
        return self.position / SAMPLE_RATE

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """Messages of one type."""
        return [each for each in self.messages if each["type"] == kind]

    @property
    def texts(self) -> list[str]:
        """What was understood."""
        return [each["text"] for each in self.kinds("transcript")]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for what a message or a connection brings."""
        while not true():
            self.news.clear()
            await self.news.wait()

    async def play(self, pcm: Pcm) -> None:
        """Send audio that passes now."""
        for first in range(0, pcm.size, SAMPLE_RATE // 4):
            piece = pcm[first : first + SAMPLE_RATE // 4]
            await self.send(piece.tobytes())
            self.position += piece.size

    async def send(self, frame: bytes) -> None:
        """Send one frame."""
        await self._socket.send(frame)

    async def end(self) -> None:
        """Hear everything that is still due."""
        await self._socket.send('{"type": "end"}')
        await self.until(lambda: bool(self.kinds("stopped")))


def at(stamp: str) -> float:
    """Seconds since T0."""
    return (datetime.fromisoformat(stamp) - T0).total_seconds()


@asynccontextmanager
async def microphones(cluster: Cluster) -> AsyncGenerator[Sequence[Microphone]]:
    """Eight of them, over both ingress replicas."""
    names = [f"mic_{number}" for number in range(MICROPHONES)]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Microphone.open(cluster, name))
            for name in names
        ]


def two_commands(number: int) -> tuple[str, str]:
    """What is said to a microphone."""
    return COMMANDS[number % 4], COMMANDS[(number + 1) % 4]


def spoken(text: str) -> Pcm:
    """A command with the silence that a pause needs."""
    return np.concatenate([silence(0.5), say(text), silence(1)])


async def furnish(cluster: Cluster) -> str:
    """Tell one ingress replica what may be said; the vocabulary's version."""
    async with cluster.http() as http:
        answer = await http.put("/v1/vocabulary", json=VOCABULARY)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


async def test_a_vocabulary_sent_to_one_ingress_replica_counts_at_all(
    cluster: Cluster,
) -> None:
    version = await furnish(cluster)

    async def everywhere() -> bool:
        return set((await cluster.versions()).values()) == {version}

    await until(everywhere)


async def test_a_message_over_the_limit_is_refused_behind_rays_proxy_too(
    cluster: Cluster,
) -> None:
    async with Microphone.open(cluster, "hall") as microphone:
        limit = microphone.ready["limits"]["max_message_bytes"]
        await microphone.send(bytes(limit))
        await microphone.send(bytes(limit + 2))
        await microphone.until(lambda: bool(microphone.gaps))
    assert microphone.gaps[0].code == 1009


async def test_nothing_is_lost_when_a_model_replica_dies(cluster: Cluster) -> None:
    await furnish(cluster)
    before = cluster.replicas("models")
    assert len(before) == 2
    retried = await cluster.retried()
    killed = before.pop()

    async with microphones(cluster) as all_:
        for number, microphone in enumerate(all_):
            said = [spoken(text) for text in two_commands(number)]
            sound = [alarm(13)] if number < 2 else []
            await microphone.play(np.concatenate([*said, *sound]))
        # The first transcript is there: seven others are being made, or wait.
        first = [
            asyncio.create_task(each.until(lambda e=each: e.texts)) for each in all_
        ]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        cluster.kill("models", killed)
        for microphone in all_:
            await microphone.end()
        for task in first:
            task.cancel()

    for number, microphone in enumerate(all_):
        assert microphone.texts == list(two_commands(number))
        assert microphone.gaps == []
        alarms = [each["label"] for each in microphone.kinds("sound")]
        assert alarms[:1] == (["smoke"] if number < 2 else [])
    assert len({microphone.replica for microphone in all_}) == 2
    assert await cluster.retried() > retried


async def test_a_model_replica_that_starts_later_knows_the_vocabulary(
    cluster: Cluster,
) -> None:
    await furnish(cluster)
    old = cluster.replicas("models")
    for replica in old:
        cluster.kill("models", replica)

    async with Microphone.open(cluster, "hall") as microphone:
        await microphone.play(spoken(COMMANDS[0]))
        await microphone.end()

    assert microphone.texts == [COMMANDS[0]]
    assert microphone.gaps == []
    assert not old & cluster.replicas("models")


async def test_streams_of_a_dead_ingress_replica_return_and_tell_their_gap(
    cluster: Cluster,
) -> None:
    version = await furnish(cluster)
    replicas = set(await cluster.versions())

    async with microphones(cluster) as all_:
        for number, microphone in enumerate(all_):
            await microphone.play(spoken(two_commands(number)[0]))
        for microphone in all_:
            await microphone.until(lambda m=microphone: m.texts)
        served = [microphone.replica for microphone in all_]
        killed = max(replicas, key=served.count)
        lost = [each for each in all_ if each.replica == killed]
        assert lost
        cluster.kill("ingress", killed)
        for microphone in lost:
            await microphone.until(lambda m=microphone: m.gaps)
        began = [microphone.seconds for microphone in all_]
        for number, microphone in enumerate(all_):
            await microphone.play(spoken(two_commands(number)[1]))
            await microphone.end()

    for number, microphone in enumerate(all_):
        assert microphone.texts == list(two_commands(number))
        # By the microphone's own clock, on whichever replica it was heard.
        second = microphone.kinds("transcript")[1]
        assert at(second["start"]) == pytest.approx(began[number] + 0.5, abs=0.3)
        if microphone in lost:
            (gap,) = microphone.gaps
            assert 0 < gap.heard < gap.resumed
            assert gap.code not in {1000, 1001}
            assert microphone.replica != killed
        else:
            assert microphone.gaps == []

    async def replaced() -> bool:
        told = await cluster.versions()
        return killed not in told and set(told.values()) == {version}

    await until(replaced)
