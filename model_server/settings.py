"""The server's one configuration: flags before EARSHOT_ variables before a TOML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
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


class Settings(BaseSettings):
    """Everything that can be set, with its default. Seconds and bytes are in the names."""

    model_config = SettingsConfigDict(
        env_prefix="EARSHOT_", extra="forbid", frozen=True
    )

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

    @model_validator(mode="after")
    def _tls_takes_both(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS takes a certificate and a key: give both or neither")
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
