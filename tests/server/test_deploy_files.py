"""What a server is deployed with: the container, Home Assistant's app, the unit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
import fnmatch
import json
import os
from pathlib import Path
import re
import shlex
import shutil
import socket
import subprocess
import sys
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
import jsonschema
import pytest
import yaml

from model_server import __version__
from model_server.api.auth import TokenFile
from model_server.deploy import health, homeassistant_app
from model_server.settings import DEFAULT_PORT, Settings, load_settings
from tests.server.client import House, Serve

DEPLOY = Path("model_server/deploy")
APP = DEPLOY / "homeassistant"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# The container


def instructions(path: Path) -> list[tuple[str, str]]:
    """A container file's instructions: continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, value.strip()) for name, value in found]


def stage(path: Path, name: str) -> list[tuple[str, str]]:
    """The instructions of one stage and of those it is made from, first to last."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for each in instructions(path):
        if each[0] == "FROM":
            base, _, alias = each[1].partition(" AS ")
            stages[alias] = current = list(stages.get(base, []))
        elif each[0] != "ARG":
            current.append(each)
    return stages[name]


CONTAINER = DEPLOY / "container/Containerfile"


def value(found: list[tuple[str, str]], name: str) -> str:
    """The last instruction of a kind, which is the one that counts."""
    return [each for kind, each in found if kind == name][-1]


@pytest.mark.parametrize("target", ["server", "models"])
def test_the_container_serves_without_root_and_keeps_its_data_apart(
    target: str,
) -> None:
    found = stage(CONTAINER, target)
    user = value(found, "USER")
    assert user == f"{homeassistant_app.USER}:{homeassistant_app.USER}"
    assert value(found, "VOLUME") == "/data"
    assert value(found, "EXPOSE") == str(DEFAULT_PORT)
    assert json.loads(value(found, "ENTRYPOINT")) == ["python", "-m", "model_server"]
    assert json.loads(value(found, "CMD")) == ["serve"]
    check = value(found, "HEALTHCHECK").split("CMD", 1)[1]
    assert json.loads(check) == ["python", "-m", health.__name__]
    # After the last user nothing is installed or made that would be root's.
    assert all(kind != "RUN" for kind, _ in found[found.index(("USER", user)) :])


def test_the_default_container_has_the_servers_packages_only() -> None:
    *_, last = [each for kind, each in instructions(CONTAINER) if kind == "FROM"]
    assert last.endswith("AS server")
    found = stage(CONTAINER, "packages")
    (install,) = [each for kind, each in found if "pip install" in each]
    words = shlex.split(install)
    assert {"--require-hashes", "--only-binary"} <= set(words)
    assert words[words.index("--requirement") + 1] == "/requirements/server.txt"


def test_everything_the_container_copies_is_in_its_context_and_little_else() -> None:
    rules = [
        line
        for line in Path(".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    copied = [
        source
        for kind, each in instructions(CONTAINER)
        if kind == "COPY" and "--from" not in each
        for source in each.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert Path(source).exists()
        assert any(fnmatch.fnmatch(source, f"{keep}*") for keep in kept)


def test_the_environment_of_the_container_is_settings() -> None:
    found = stage(CONTAINER, "server")
    words = [
        word for kind, each in found if kind == "ENV" for word in shlex.split(each)
    ]
    named = [word.split("=")[0] for word in words if word.startswith("EARSHOT_")]
    assert set(named) == {"EARSHOT_DATA_DIR", "EARSHOT_HOST"}
    assert {name.removeprefix("EARSHOT_").lower() for name in named} <= set(
        Settings.model_fields
    )


def port_of(house: House) -> int:
    return int(house.url.rsplit(":", 1)[1])


async def test_the_health_check_tells_a_server_that_serves(house: House) -> None:
    async def status(port: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", health.__name__),
            env=os.environ | {"EARSHOT_PORT": str(port)},
        )
        return await process.wait()

    assert await status(port_of(house)) == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    assert await status(closed) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of another host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "earshot.lan")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


async def test_the_health_check_asks_through_tls_where_the_server_has_it(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    async with serve(tls_cert=cert, tls_key=key) as house:
        ask = health.healthy
        assert await asyncio.to_thread(ask, port_of(house), tls=True)
        assert not await asyncio.to_thread(ask, port_of(house), tls=False)


# The Home Assistant app

OPTION = (
    r"^(bool|email|url|port|password|str(\(\d*,\d*\))?|int(\(-?\d*,-?\d*\))?"
    r"|float(\([^,]*,[^,]*\))?|match\(.*\)|list\([^()]+\))\??$"
)
# developers.home-assistant.io, "App configuration", as of 2026-09; only what is used.
CONFIG_SCHEMA = {
    "type": "object",
    "required": ["name", "version", "slug", "description", "arch"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "slug": {"pattern": "^[-_.A-Za-z0-9]+$"},
        "description": {"type": "string"},
        "url": {"pattern": "^https://"},
        "arch": {"items": {"enum": ["aarch64", "amd64"]}, "minItems": 1},
        "stage": {"enum": ["stable", "experimental", "deprecated"]},
        "homeassistant": {"pattern": r"^\d{4}\.\d+\.\d+$"},
        "startup": {
            "enum": ["initialize", "system", "services", "application", "once"]
        },
        "boot": {"enum": ["auto", "manual", "manual_only"]},
        "init": {"type": "boolean"},
        "watchdog": {"pattern": r"^(https?|tcp)://\[HOST\]:\[PORT:\d+\].*$"},
        "ports": {
            "patternProperties": {r"^\d+/(tcp|udp)$": {"type": ["integer", "null"]}},
            "additionalProperties": False,
        },
        "map": {"type": "array"},
        "tmpfs": {"type": "boolean"},
        "apparmor": {"type": "boolean"},
        "host_network": {"type": "boolean"},
        "ingress": {"type": "boolean"},
        "hassio_api": {"type": "boolean"},
        "homeassistant_api": {"type": "boolean"},
        "auth_api": {"type": "boolean"},
        "docker_api": {"type": "boolean"},
        "backup_exclude": {"items": {"type": "string"}},
        "options": {"type": "object"},
        "schema": {"additionalProperties": {"pattern": OPTION}},
    },
}


@pytest.fixture
def config() -> dict[str, Any]:
    """The app's configuration."""
    found: dict[str, Any] = read_yaml(APP / "config.yaml")
    return found


def test_the_supervisor_takes_the_app(config: dict[str, Any]) -> None:
    jsonschema.validate(config, CONFIG_SCHEMA)
    assert config["version"] == __version__
    assert f"## {__version__}" in (APP / "CHANGELOG.md").read_text()
    # It searches the whole repository for files of this name.
    tracked = subprocess.run(
        ["git", "ls-files", "*config.yaml", "*config.yml", "*config.json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [each for each in tracked if Path(each).stem == "config"] == [
        str(APP / "config.yaml")
    ]
    assert {"name", "url", "maintainer"} == set(read_yaml(Path("repository.yaml")))


def test_the_app_sees_nothing_of_the_machine(config: dict[str, Any]) -> None:
    assert config["ports"] == {f"{DEFAULT_PORT}/tcp": None}
    assert config["map"] == []
    assert config["apparmor"] is True
    for right in (
        *("host_network", "ingress", "auth_api"),
        *("hassio_api", "homeassistant_api", "docker_api"),
    ):
        assert config[right] is False
    assert f"[PORT:{DEFAULT_PORT}]/health" in config["watchdog"]


def test_every_option_of_the_app_has_a_type_a_name_and_a_meaning(
    config: dict[str, Any],
) -> None:
    schema, options = config["schema"], config["options"]
    optional = {name for name, kind in schema.items() if kind.endswith("?")}
    assert set(options) == set(schema) - optional
    translations = read_yaml(APP / "translations/en.yaml")
    assert set(translations["configuration"]) == set(schema)
    for told in translations["configuration"].values():
        assert set(told) == {"name", "description"}
    assert set(translations["network"]) == set(config["ports"])
    assert set(schema) == {*homeassistant_app.SETTINGS, "new_token"}
    documented = (APP / "DOCS.md").read_text()
    assert all(f"`{name}`" in documented for name in schema)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {}),
        ({"max_streams": 3, "log_level": "debug"}, {"max_streams": 3}),
        (
            {
                "speech": "remote",
                "descriptions": "remote",
                "remote_url": "http://gpu.lan:8000/v1",
                "remote_model": "",
            },
            {"speech": "remote", "descriptions": "remote"},
        ),
    ],
)
def test_options_of_the_app_become_settings(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    chosen: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    made = homeassistant_app.environment(config["options"] | chosen, tmp_path)
    for name, each in made.items():
        monkeypatch.setenv(name, each)
    settings = load_settings()
    assert settings.data_dir == tmp_path
    assert settings.host == "0.0.0.0"
    assert settings.port == DEFAULT_PORT
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.remote.url == chosen.get("remote_url")
    assert settings.remote.model == Settings.model_fields["remote"].default.model


def test_a_new_token_is_made_only_when_one_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, me = tmp_path / "earshot", os.getuid()
    homeassistant_app.prepare({"new_token": True}, data, me)
    token = TokenFile(data).read()
    assert token in capsys.readouterr().out
    homeassistant_app.prepare({"new_token": False}, data, me)
    assert TokenFile(data).read() == token
    assert capsys.readouterr().out == ""


ENTER = """
import os, sys
from pathlib import Path
from model_server.deploy import homeassistant_app as app
os.execve = lambda *call: print(os.getuid(), os.getgroups(), call[1][1:], call[2]["EARSHOT_DATA_DIR"])
app.main(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give root up")
def test_the_app_gives_root_up_and_keeps_its_token(tmp_path: Path) -> None:
    data, options = tmp_path / "earshot", tmp_path / "options.json"

    def start(**chosen: Any) -> str:
        options.write_text(json.dumps(chosen))
        done = subprocess.run(
            [sys.executable, "-c", ENTER, str(options), str(data)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    served = f"{homeassistant_app.USER} [] ['-m', 'model_server', 'serve'] {data}\n"
    printed = start(new_token=True)
    token = TokenFile(data).read()
    assert printed.startswith(f"New token: {token}\n")
    assert printed.endswith(served)
    assert start(new_token=False) == served
    assert TokenFile(data).read() == token
    for path in (data, data / "token"):
        assert path.stat().st_uid == homeassistant_app.USER
        assert path.stat().st_mode & 0o077 == 0


def test_the_apps_image_has_the_servers_packages_and_its_own_entry() -> None:
    found = stage(APP / "Dockerfile", "")
    assert json.loads(value(found, "CMD"))[1:] == ["-m", homeassistant_app.__name__]
    text = " ".join(each for _, each in found)
    assert "--require-hashes" in text
    assert "/srv/earshot/requirements/server.txt" in text
    assert "v${BUILD_VERSION}.tar.gz" in text
    labels = value(found, "LABEL")
    for label in ("io.hass.type", "io.hass.version", "io.hass.arch"):
        assert label in labels


def test_the_apparmor_profile_is_the_apps_and_lets_in_what_the_image_runs(
    config: dict[str, Any],
) -> None:
    profile = (APP / "apparmor.txt").read_text()
    assert f"\nprofile {config['slug']} flags=" in profile
    assert profile.count("{") == profile.count("}")
    rules = {line.strip() for line in profile.splitlines()}
    assert {"/opt/earshot/bin/python* ix,", "/srv/earshot/** r,"} <= rules
    assert f"{homeassistant_app.DATA_DIR}/** rwk," in rules
    assert f"{homeassistant_app.OPTIONS} r," in rules
    # No rule for all files: what is not named is denied.
    assert "file," not in rules
    assert not any(rule.startswith("/** ") for rule in rules)


# The systemd unit

UNIT = DEPLOY / "systemd/earshot.service"


def test_the_unit_serves_from_where_the_guide_installs() -> None:
    unit = UNIT.read_text()
    assert "ExecStart=/opt/earshot/.venv/bin/python -m model_server serve\n" in unit
    state = re.search(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
    assert state is not None
    assert f"EARSHOT_DATA_DIR=/var/lib/{state[1]}\n" in unit


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)
def test_systemd_understands_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    # The program is not installed here; everything else is checked as it stands.
    copy = tmp_path / UNIT.name
    copy.write_text(
        re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text())
    )
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verify.returncode, verify.stderr) == (0, "")
    security = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert security.returncode == 0, security.stdout
