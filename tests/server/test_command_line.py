"""The command line as a person meets it: in a process of its own where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
import ipaddress
import json
import os
from pathlib import Path
import signal
import socket
import ssl
import sys
import threading
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
import httpx
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from model_server import __main__ as command_line, __version__
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.evaluation import synthesis
from tests.server.client import VOCABULARY, command
from tests.server.voices import silence

runner = CliRunner()


def write(path: Path, pcm: Pcm) -> Path:
    """A FLAC file."""
    soundfile.write(path, pcm, SAMPLE_RATE)
    return path


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """The kitchen and the office as a file."""
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(VOCABULARY))
    return path


def run(*arguments: str | Path) -> Any:
    """Run a command in this process."""
    return runner.invoke(command_line.app, [str(each) for each in arguments])


@asynccontextmanager
async def serving(
    data_dir: Path, *options: str
) -> AsyncGenerator[tuple[str, list[str], asyncio.subprocess.Process]]:
    """`serve` on a free port: its address, what it printed before, its process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "model_server", "serve", "--port", "0", "--data-dir", str(data_dir)),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while True:
            line = (await process.stdout.readline()).decode().strip()
            assert line, (await process.communicate())[1].decode()
            if line.startswith("Earshot listens on "):
                yield line.removeprefix("Earshot listens on "), lines, process
                break
            lines.append(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_serve_prints_token_once_and_ends_its_streams_on_sigterm(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, "--log-level", "debug") as (url, lines, process):
        token = (tmp_path / "token").read_text().strip()
        assert [line for line in lines if token in line] == lines
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            response = await http.put("/v1/vocabulary", json=VOCABULARY, timeout=60)
            assert response.status_code == 200
        stream_url = url.replace("http", "ws") + "/v1/stream"
        async with connect(stream_url, additional_headers=headers) as websocket:
            begin = {"type": "start", "microphone": "hall", "tasks": ["commands"]}
            await websocket.send(json.dumps(begin))
            await websocket.send(command().tobytes())
            messages = []
            while not messages or messages[-1]["type"] != "transcript":
                messages.append(json.loads(await websocket.recv()))
            process.send_signal(signal.SIGTERM)
            rest = [json.loads(message) async for message in websocket]
        out, log = await process.communicate()

    text = messages[-1]["text"]
    assert text.startswith("turn on the kitchen light")
    assert rest[-1] == {"type": "stopped", "reason": "shutdown"}
    assert process.returncode == 0
    assert token not in (out + log).decode()
    assert text not in log.decode()
    assert "hall streams: commands" in log.decode()

    async with serving(tmp_path) as (_, lines, process):
        assert lines == []
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0


@pytest.fixture
def handlers() -> Generator[None]:
    """Signal handlers as they were, after a command that sets its own."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("handlers")
def test_serve_ends_with_success_when_it_is_asked_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def stop_when_ready() -> None:
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(transport=transport) as http:
            assert http.get(f"http://127.0.0.1:{port}/health").status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_ready)
    stopper.start()
    result = run("serve", "--port", str(port), "--data-dir", tmp_path)
    stopper.join()

    assert result.exit_code == 0
    assert (tmp_path / "token").read_text().strip() in result.stdout
    assert f"Earshot listens on http://127.0.0.1:{port}" in result.stdout


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "earshot")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_with_a_certificate_it_serves_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    async with serving(tmp_path / "data", *options) as (url, _, _):
        assert url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=cert)
        async with httpx.AsyncClient(verify=trust) as http:
            assert (await http.get(f"{url}/health")).status_code == 200


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    result = run("serve", "--data-dir", tmp_path, "--tls-cert", "cert.pem")

    assert result.exit_code == 2
    assert "give both or neither" in result.stderr


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("no certificate")
    both = ("--tls-cert", tmp_path / "a.pem", "--tls-key", tmp_path / "a.pem")
    result = run("serve", "--port", "0", "--data-dir", tmp_path / "data", *both)

    assert result.exit_code == 2
    assert "PEM" in result.stderr


def test_a_certificate_that_is_missing_is_named(tmp_path: Path) -> None:
    both = ("--tls-cert", tmp_path / "a.pem", "--tls-key", tmp_path / "a.pem")
    result = run("serve", "--port", "0", "--data-dir", tmp_path / "data", *both)

    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--port", port, "--data-dir", tmp_path)

    assert result.exit_code == 2
    assert f"port {port}" in result.stderr
    assert "choose another" in result.stderr


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    result = run("serve", "--host", "192.0.2.1", "--data-dir", tmp_path)

    assert result.exit_code == 2
    assert "192.0.2.1" in result.stderr


def test_transcribe_prints_the_text_with_its_confidence(
    tmp_path: Path, vocabulary: Path
) -> None:
    file = write(tmp_path / "a.flac", command("turn off the kitchen lights"))
    options = ("--vocabulary", vocabulary, "--data-dir", tmp_path / "data")

    table = run("transcribe", file, *options)
    machine = run("transcribe", file, *options, "--json")

    assert table.exit_code == machine.exit_code == 0, table.output
    assert "turn off the kitchen light" in table.stdout
    said = json.loads(machine.stdout)
    assert said["text"].startswith("turn off the kitchen light")
    assert 0 < said["confidence"] <= 1
    assert said["rejected"] is None
    assert 0.6 < said["start"] < said["end"] < command().size / SAMPLE_RATE + 1


def test_transcribe_takes_the_stored_vocabulary(
    tmp_path: Path, vocabulary: Path
) -> None:
    (tmp_path / "data").mkdir()
    vocabulary.rename(tmp_path / "data" / "vocabulary.json")
    file = write(tmp_path / "a.flac", command("turn off the kitchen lights"))

    result = run("transcribe", file, "--data-dir", tmp_path / "data", "--json")

    text = json.loads(result.stdout)["text"]
    assert text.startswith("turn off the kitchen light")


def test_transcribe_says_when_there_is_nothing_to_hear(tmp_path: Path) -> None:
    file = write(tmp_path / "a.flac", silence(2))

    result = run("transcribe", file, "--data-dir", tmp_path / "data")

    assert result.exit_code == 0
    assert "(silence)" in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no vocabulary: body: Invalid JSON"),
        ('{"entities": 5}', "is no vocabulary: entities"),
        ('{"language": "tlh"}', "The vocabulary cannot be used"),
    ],
)
def test_transcribe_names_what_is_wrong_with_a_vocabulary(
    tmp_path: Path, content: str, message: str
) -> None:
    file = write(tmp_path / "a.flac", silence(1))
    (tmp_path / "v.json").write_text(content)
    options = ("--vocabulary", tmp_path / "v.json", "--data-dir", tmp_path / "data")

    result = run("transcribe", file, *options)

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_vocabulary_that_is_missing_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.flac", silence(1))

    result = run("transcribe", file, "--vocabulary", tmp_path / "v.json")

    assert result.exit_code == 2
    assert "v.json: No such file" in result.stderr


def test_an_utterance_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.flac", silence(20))

    result = run("transcribe", file, "--data-dir", tmp_path / "data")

    assert result.exit_code == 2
    assert "longer than 15 s" in result.stderr


@pytest.mark.parametrize("verb", ["transcribe", "classify"])
def test_what_is_no_audio_is_refused(tmp_path: Path, verb: str) -> None:
    (tmp_path / "letter.txt").write_text("dear house")

    result = run(verb, tmp_path / "letter.txt")

    assert result.exit_code == 2
    assert "letter.txt cannot be read as audio" in result.stderr


def test_classify_lists_alarms_with_their_times(tmp_path: Path) -> None:
    alarm = np.asarray(synthesis.t3(16) * 10_000, np.int16)
    pcm = np.concatenate([silence(4), alarm, silence(20), alarm])
    file = write(tmp_path / "night.flac", pcm)

    table = run("classify", file)
    machine = run("classify", file, "--json")

    assert table.exit_code == machine.exit_code == 0, table.output
    events = [each for each in json.loads(machine.stdout) if each["label"] == "smoke"]
    first, second = events
    assert first["start"] == pytest.approx(4, abs=0.3)
    assert 18 < first["end"] < 24
    assert second["start"] == pytest.approx(40, abs=0.3)
    assert second["end"] is None
    assert first["score"] >= first["threshold"]
    assert "0:04." in table.stdout
    assert "end of file" in table.stdout
    assert "Smoke alarm" in table.stdout


def test_classify_of_silence_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "quiet.flac", silence(5))

    result = run("classify", file)

    assert result.exit_code == 0
    assert "quiet.flac: none of the" in result.stdout


def test_the_token_is_shown_and_rotated(tmp_path: Path) -> None:
    first = run("token", "show", "--data-dir", tmp_path).stdout
    again = run("token", "show", "--data-dir", tmp_path).stdout
    new = run("token", "rotate", "--data-dir", tmp_path).stdout

    assert first == again != new
    assert run("token", "show", "--data-dir", tmp_path).stdout == new


@pytest.mark.parametrize("verb", [("token", "show"), ("token", "rotate"), ("serve",)])
def test_a_data_folder_that_is_a_file_is_named(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")

    result = run(*verb, "--data-dir", tmp_path / "file" / "data")

    assert result.exit_code == 2
    assert "data" in result.stderr
    assert "--data-dir" in result.stderr


def test_a_wrong_setting_ends_with_its_name(tmp_path: Path) -> None:
    result = run("token", "show", "--config", tmp_path / "none.toml")

    assert result.exit_code == 2
    assert "There is no configuration file" in result.stderr


def test_the_version_is_printed() -> None:
    assert run("version").stdout.strip() == __version__
