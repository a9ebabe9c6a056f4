"""The server's one configuration: flags before EARSHOT_ variables before a TOML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
import typer

DEFAULT_PORT = 10380


class SettingsError(Exception):
    """The configuration cannot be used; the message says what to change."""


class _Section(BaseModel):
    """A table of the TOML file; in the environment its name, two underscores, a field."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MiDashengSettings(_Section):
    """The big model in this process. `model` is a name that `fetch` knows, or a folder."""

    model: str = "midashenglm-7b"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_batch: Annotated[int, Field(ge=1, le=512)] = 8
    """Utterances, windows and questions that are decoded together."""
    max_waiting: Annotated[int, Field(ge=1, le=4096)] = 32
    """Calls of one kind that may wait; a further one is refused."""
    audio_first: bool = True
    """Audio before the instruction: what several questions about it have in common."""
    system: str | None = None
    """A system message before everything, if the checkpoint was trained with one."""


class CedSettings(_Section):
    """The downloaded sound classifier. `model` is a name that `fetch` knows, or a folder."""

    model: str = "ced-tiny"
    device: Literal["auto", "cpu", "cuda"] = "cpu"


class RemoteSettings(_Section):
    """An OpenAI-compatible server with audio input: vLLM, llama.cpp, another Earshot."""

    url: str | None = None
    """Its base address, such as http://gpu.lan:8000/v1."""
    model: str = "midasheng"
    api_key: SecretStr | None = None
    ca_cert: Path | None = None
    """PEM certificates to trust instead of the system's."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    fallback: bool = True
    """Recognise with the embedded engine while the remote one is away."""


class WyomingSettings(_Section):
    """The Wyoming door, closed unless it has a port. It has no token: mind the address."""

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    host: str = "127.0.0.1"
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 16
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Addresses and networks that may connect, such as 192.168.1.0/24; none: all."""


class ClipSettings(_Section):
    """Recordings of sound events: none are kept unless `enabled`, and a stream asks."""

    enabled: bool = False
    microphones: tuple[str, ...] = ()
    """Whose sounds may be kept; none: all that ask."""
    labels: tuple[str, ...] = ()
    """Which sounds are kept; none: all."""
    speech: bool = False
    """Also keep clips in which somebody speaks."""
    pre_s: Annotated[float, Field(ge=0, le=30)] = 5.0
    post_s: Annotated[float, Field(ge=1, le=120)] = 10.0
    """Both from the onset; a sound that ends sooner ends its clip a second later."""
    max_s: Annotated[float, Field(ge=1, le=150)] = 30.0
    max_days: Annotated[float, Field(gt=0, le=3650)] = 7.0
    max_bytes: Annotated[int, Field(ge=16 << 20)] = 500 << 20
    """Of all clips together; the oldest go first."""


class Settings(BaseSettings):
    """Everything that can be set, with its default. Seconds and bytes are in the names."""

    model_config = SettingsConfigDict(
        env_prefix="EARSHOT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    speech: Literal["embedded", "midashenglm", "remote"] = "embedded"
    sounds: Literal["embedded", "ced", "midashenglm"] = "embedded"
    descriptions: Literal["none", "midashenglm", "remote"] = "none"
    midashenglm: MiDashengSettings = MiDashengSettings()
    ced: CedSettings = CedSettings()
    remote: RemoteSettings = RemoteSettings()
    wyoming: WyomingSettings = WyomingSettings()
    clips: ClipSettings = ClipSettings()
    verify_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    """How long a sound event waits for the describer to confirm it; 0: it is not asked."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    data_dir: Path = Path(typer.get_app_dir("earshot"))
    tls_cert: Path | None = None
    tls_key: Path | None = None
    zeroconf: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_streams: Annotated[int, Field(ge=1, le=1024)] = 16
    max_utterance_s: Annotated[float, Field(gt=0, le=120)] = 15.0
    max_ahead_s: Annotated[float, Field(ge=1, le=600)] = 60.0
    max_message_bytes: Annotated[int, Field(ge=4096, le=16 << 20)] = 1 << 20
    idle_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    max_upload_bytes: Annotated[int, Field(ge=4096, le=1 << 30)] = 25 << 20
    max_upload_s: Annotated[float, Field(gt=0, le=86400)] = 3600.0
    max_requests: Annotated[int, Field(ge=1, le=1024)] = 16
    """Uploads that are received, wait or are worked on; a further one is refused."""
    score_log_days: Annotated[float, Field(ge=0, le=3650)] = 7.0
    """How long the scores of every microphone are kept for `replay`; 0: not at all."""
    score_log_mb: Annotated[int, Field(ge=1, le=1 << 20)] = 256
    """How large that file may become; beyond it the oldest scores go first."""

    @model_validator(mode="after")
    def _tls_takes_both(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS takes a certificate and a key: give both or neither")
        return self

    @model_validator(mode="after")
    def _remote_takes_an_address(self) -> Settings:
        wanted = "remote" in (self.speech, self.descriptions)
        if wanted and self.remote.url is None:
            raise ValueError("The remote engine takes an address: set remote.url")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; the file is the one that `load_settings` names."""
        file = settings_cls.model_config.get("toml_file")
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, file),
        )


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Settings from flags that are not None, the environment, then the file.

    Without `config` the file is the one EARSHOT_CONFIG names, if any. Raises
    SettingsError naming the setting and what is wrong with it.
    """
    if config is None and (named := os.environ.get("EARSHOT_CONFIG")):
        config = Path(named)
    if config is not None and not config.is_file():
        raise SettingsError(f"There is no configuration file {config}.")

    class Located(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Located(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(
            f"Setting {name}: {reason}." if name else f"{reason}."
        ) from error
    except ValueError as error:
        raise SettingsError(f"{config} is not valid TOML: {error}.") from error
