"""Settings: flags before environment before file, and errors that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_server.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"EARSHOT_{name.upper()}", raising=False)
    monkeypatch.delenv("EARSHOT_CONFIG", raising=False)


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = load_settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 10380)
    assert settings.data_dir.name == "earshot"
    assert not settings.zeroconf


def test_a_flag_beats_the_environment_which_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "earshot.toml"
    file.write_text('host = "::1"\nport = 1\nmax_streams = 3\nzeroconf = true\n')
    monkeypatch.setenv("EARSHOT_PORT", "2")
    monkeypatch.setenv("EARSHOT_MAX_STREAMS", "4")

    settings = load_settings(file, max_streams=5, idle_s=None)

    assert settings.max_streams == 5
    assert settings.port == 2
    assert settings.host == "::1"
    assert settings.zeroconf
    assert settings.idle_s == 30


def test_clips_are_off_until_their_table_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "earshot.toml"
    file.write_text('[clips]\nenabled = true\nmicrophones = ["hall"]\npre_s = 2\n')

    clips = load_settings(file).clips

    assert not load_settings().clips.enabled
    assert (clips.enabled, clips.microphones, clips.speech) == (True, ("hall",), False)
    assert (clips.pre_s, clips.post_s) == (2, 10)


def test_the_environment_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text("port = 7")
    monkeypatch.setenv("EARSHOT_CONFIG", str(tmp_path / "a.toml"))

    assert load_settings().port == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("port = 99999", "Setting port: Input should be less than or equal to 65535."),
        ('log_level = "loud"', "Setting log_level: "),
        ("prot = 1", "Setting prot: Extra inputs are not permitted."),
        ('tls_cert = "a.pem"', "TLS takes a certificate and a key"),
        ("port = ", "is not valid TOML"),
        ("[clips]\nmax_bytes = 1", "Setting clips.max_bytes: "),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "earshot.toml"
    file.write_text(content)

    with pytest.raises(SettingsError) as error:
        load_settings(file)

    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no configuration file"):
        load_settings(tmp_path / "none.toml")
