"""The catalogue of sound labels, read from `sounds.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
import yaml

DeviceClass: TypeAlias = Literal["smoke", "carbon_monoxide", "battery", "sound"]
Group: TypeAlias = Literal[
    "security", "people", "animals", "household", "outdoors", "gestures"
]
Source: TypeAlias = Literal["classifier", "rhythm", "gesture"]

MIN_HOLD_S, MAX_HOLD_S = 0.5, 120.0
MAX_COOLDOWN_S = MAX_SUSTAIN_S = 86400.0
MAX_GAP_S = 3600.0
MAX_WINDOWS = 20

_Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]


class CatalogueError(Exception):
    """The catalogue cannot be read or contradicts itself."""


@dataclass(frozen=True)
class SoundLabel:
    """A sound that can be reported, and when it is.

    An event begins when `k` of the last `n` windows score at least `on_score`, and
    ends once none has scored `off_score` for `hold_s` seconds; no other begins within
    `cooldown_s` of the last that did. Going on for `sustain_s`, with pauses of at most
    `sustain_gap_s`, it is told once more; None is never. `source` says whether a
    classifier scores it, or the alarm rhythm or the gesture recogniser decides by
    itself. `audioset` are the classes of AudioSet's ontology, by display name, that
    mean this sound.
    """

    slug: str
    name: str
    group: Group
    device_class: DeviceClass
    default: bool
    source: Source
    on_score: float
    off_score: float
    k: int
    n: int
    hold_s: float
    audioset: tuple[str, ...] = ()
    cooldown_s: float = 0.0
    sustain_s: float | None = None
    sustain_gap_s: float = 60.0


class _Entry(BaseModel):
    """One label as it is written down."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=64)
    group: Group
    device_class: DeviceClass = "sound"
    default: bool
    source: Source = "classifier"
    on_score: float = Field(default=0.5, gt=0, le=1)
    off_score: float = Field(default=0.25, ge=0, lt=1)
    k: int = Field(default=2, ge=1, le=MAX_WINDOWS)
    n: int = Field(default=3, ge=1, le=MAX_WINDOWS)
    hold_s: float = Field(default=3.0, ge=MIN_HOLD_S, le=MAX_HOLD_S)
    # YAML has lists only.
    audioset: tuple[str, ...] = Field(default=(), strict=False)
    cooldown_s: float = Field(default=0.0, ge=0, le=MAX_COOLDOWN_S)
    sustain_s: float | None = Field(default=None, gt=0, le=MAX_SUSTAIN_S)
    sustain_gap_s: float = Field(default=60.0, ge=0, le=MAX_GAP_S)


_ENTRIES = TypeAdapter(dict[_Slug, _Entry])


def load_catalogue(path: Path | None = None) -> dict[str, SoundLabel]:
    """Labels by slug, in the order of the file; without a path those of this package.

    Raises CatalogueError, which names the label and what is wrong with it.
    """
    source = path or resources.files("model_server") / "sounds.yaml"
    try:
        raw = yaml.safe_load(source.read_text(encoding="utf-8"))
        entries = _ENTRIES.validate_python(raw)
    except (OSError, UnicodeDecodeError) as err:
        raise CatalogueError(f"{source} cannot be read") from err
    except yaml.YAMLError as err:
        raise CatalogueError(f"{source} is not YAML: {err}") from err
    except ValidationError as err:
        first = err.errors()[0]
        where = " → ".join(str(part) for part in first["loc"])
        raise CatalogueError(f"{source}: {where}: {first['msg']}") from err
    for slug, entry in entries.items():
        if entry.off_score > entry.on_score:
            raise CatalogueError(
                f"{source}: {slug}: off_score may not be above on_score"
            )
        if entry.k > entry.n:
            raise CatalogueError(f"{source}: {slug}: k may not be above n")
    return {
        slug: SoundLabel(slug=slug, **entry.model_dump())
        for slug, entry in entries.items()
    }
