"""TLS to a server elsewhere: its own authority is trusted when it is named, else not."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
import numpy as np
import pytest

from model_server.engines.base import EngineError
from model_server.engines.remote_chat import ChatServer, Question
from model_server.settings import RemoteSettings
from tests.server.scripted_chat import ScriptedChat, scripted_chat, unique

HELLO = ["answer", ["hello"]]


def make_authority(folder: Path) -> tuple[Path, Path, Path]:
    """An authority's certificate, and certificate and key of its server `localhost`."""
    folder.mkdir()
    begin = datetime.now(UTC) - timedelta(days=1)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def sign(subject: str, owner: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        extension: x509.ExtensionType = x509.BasicConstraints(ca=True, path_length=None)
        if not ca:
            extension = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("House"))
            .public_key(owner.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=30))
            .add_extension(extension, critical=ca)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(owner.public_key()), False
            )
            .add_extension(identifier(authority_key.public_key()), False)
            .sign(authority_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(sign("House", authority_key, ca=True))
    paths[1].write_bytes(sign("localhost", key, ca=False))
    paths[2].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return make_authority(tmp_path_factory.mktemp("tls") / "house")


@pytest.fixture(scope="module")
def secure(authority: tuple[Path, Path, Path]) -> Generator[ScriptedChat]:
    with scripted_chat(*authority[1:]) as started:
        yield started


def ask(url: str, ca_cert: Path | None, model: str | None = None) -> str:
    """The answer of a server."""
    settings = RemoteSettings(url=url, ca_cert=ca_cert, model=model or unique(HELLO))
    question = Question(np.zeros(1600, np.int16), "What?", 20)
    return "".join(piece.text for piece in ChatServer(settings).ask(question))


def test_a_server_of_the_named_authority_is_trusted(
    secure: ScriptedChat, authority: tuple[Path, Path, Path]
) -> None:
    assert ask(secure.url, authority[0]) == "hello"


@pytest.mark.parametrize("whose", ["nobody", "others"])
def test_a_server_of_an_unknown_authority_gets_nothing(
    secure: ScriptedChat, tmp_path: Path, whose: str
) -> None:
    ca_cert = None if whose == "nobody" else make_authority(tmp_path / "other")[0]
    model = unique(HELLO)
    with pytest.raises(EngineError, match=r"not trusted: set remote\.ca_cert"):
        ask(secure.url, ca_cert, model)

    assert secure.seen(model) == []


def test_a_certificate_for_another_name_is_not_accepted(
    secure: ScriptedChat, authority: tuple[Path, Path, Path]
) -> None:
    with pytest.raises(EngineError, match="the name in remote.url that it is for"):
        ask(secure.url.replace("localhost", "127.0.0.1"), authority[0])


def test_https_to_a_server_without_tls_says_so(
    chat: ScriptedChat, authority: tuple[Path, Path, Path]
) -> None:
    with pytest.raises(EngineError, match="speaks no TLS"):
        ask(chat.url.replace("http:", "https:"), authority[0])


def test_http_to_a_server_with_tls_is_an_error(secure: ScriptedChat) -> None:
    with pytest.raises(EngineError, match="broke off|answer"):
        ask(secure.url.replace("https:", "http:"), None)
