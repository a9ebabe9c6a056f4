"""Tensors in safetensors files to the weights of a module: every name accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
import re
from typing import Any, Final

from safetensors import SafetensorError, safe_open
import torch
from torch import Tensor, nn

from model_server.engines.midashenglm.config import CheckpointError, read_json

INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")

FRONT_END: Final = re.compile(
    r"(?:.*\.)?front_end\.(?:\d+\.)?"
    r"(?:(?P<window>spectrogram\.window|spectrogram_window)"
    r"|(?P<filters>mel_scale\.fb|melscale_fbanks))"
)
"""What the front end computes for itself; some checkpoints carry it all the same."""

# Of checkpoints whose activations are quantised as well, which is not done here.
_UNUSED: Final = re.compile(r".*\.(?:input_scale|output_scale|k_scale|v_scale)")


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint: which file each is in, and its shape."""

    folder: Path
    files: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def open(cls, folder: Path) -> Tensors:
        """Read the index, if any, and the header of every file. Raises CheckpointError."""
        files: dict[str, Path] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        index = _read_index(folder)
        for file in _files(folder, index):
            for name, shape in _header(file):
                if name in files:
                    raise CheckpointError(
                        f"{file}: {name} is in {files[name].name} too: "
                        "fetch the model again"
                    )
                files[name] = file
                shapes[name] = shape
        astray = [name for name in index or () if name not in files]
        if astray:
            raise CheckpointError(
                f"{folder / INDEX} lists tensors that its files lack: "
                f"{listing(astray)}: fetch the model again"
            )
        return cls(folder, files, shapes)

    def read(
        self, names: Iterable[str], device: torch.device
    ) -> Iterator[tuple[str, Tensor]]:
        """Tensors by name, a file at a time, straight to a device."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.files[name], []).append(name)
        for file, wanted in by_file.items():
            with _opened(file, device) as opened:
                for name in wanted:
                    yield name, opened.get_tensor(name)


def fill(
    module: nn.Module,
    tensors: Tensors,
    device: torch.device,
    dtype_of: Callable[[str], torch.dtype],
    *,
    rename: Callable[[str], str] = str,
) -> None:
    """Give a module on the meta device its weights, one tensor at a time.

    `rename` turns a checkpoint's names into the module's; `dtype_of` tells by the
    module's name what a floating-point tensor is kept as. Types of one byte stay as
    they are: they are quantised. Raises CheckpointError, which lists what is missing,
    unexpected or misshapen.
    """
    wanted = module.state_dict(keep_vars=True)
    given = {
        rename(name): name for name in tensors.files if not FRONT_END.fullmatch(name)
    }
    missing = [name for name in wanted if name not in given]
    if missing:
        raise CheckpointError(
            f"{tensors.folder} lacks {listing(missing)}: fetch the model again"
        )
    unexpected = [
        name for name in given if name not in wanted and not _UNUSED.fullmatch(name)
    ]
    if unexpected:
        raise CheckpointError(
            f"{tensors.folder} has tensors that config.json tells nothing of: "
            f"{listing(unexpected)}: take a model that docs/models.md lists"
        )
    misshapen = [
        f"{name} {list(tensors.shapes[given[name]])} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if tensors.shapes[given[name]] != tuple(tensor.shape)
    ]
    if misshapen:
        raise CheckpointError(
            f"{tensors.folder}: config.json does not fit {listing(misshapen)}"
        )
    ours = {given[name]: name for name in wanted}
    for theirs, tensor in tensors.read(sorted(ours), device):
        name = ours[theirs]
        if tensor.is_floating_point() and tensor.itemsize > 1:
            tensor = tensor.to(dtype_of(name))
        _assign(module, name, tensor)
    for name, part in list(module.named_modules()):
        if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
            _recompute(module, name, device)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, own = name.rpartition(".")
    part = module.get_submodule(owner)
    is_parameter = isinstance(getattr(part, own), nn.Parameter)
    value = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor
    setattr(part, own, value)


def _recompute(module: nn.Module, name: str, device: torch.device) -> None:
    """Make a part anew whose buffers no checkpoint holds: rotary frequencies."""
    owner, _, own = name.rpartition(".")
    part: Any = module.get_submodule(name)
    with torch.device(device):
        fresh = type(part)(config=part.config)
    setattr(module.get_submodule(owner), own, fresh)


def listing(names: Iterable[str], most: int = 5) -> str:
    """The first few names and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")


def _read_index(folder: Path) -> dict[str, str] | None:
    """The index's map of tensor to file, or None for a checkpoint of one file."""
    path = folder / INDEX
    if not path.is_file():
        return None
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path} has no weight_map: fetch the model again")
    for file in weight_map.values():
        # Neither another folder nor, on Windows, another drive.
        if (
            not isinstance(file, str)
            or PurePosixPath(file).name != file
            or any(mark in file for mark in "\\:")
        ):
            raise CheckpointError(
                f"{path} names {file!r}: only files beside it are read"
            )
        if not file.endswith(".safetensors"):
            raise CheckpointError(f"{path} names {file}: only .safetensors are read")
    return weight_map


def _files(folder: Path, index: Mapping[str, str] | None) -> list[Path]:
    if index is not None:
        return [folder / name for name in sorted(set(index.values()))]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if any(next(folder.glob(pattern), None) for pattern in PICKLES):
        raise CheckpointError(
            f"{folder} has its weights as pickle (.bin, .pt), which can run any code: "
            "take a checkpoint in safetensors"
        )
    raise CheckpointError(
        f"{folder} has neither {SINGLE} nor {INDEX}: "
        "fetch a model, or give the folder of one"
    )


def _header(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    with _opened(file, torch.device("cpu")) as opened:
        for name in opened.keys():  # noqa: SIM118 - no dictionary, and not iterable
            yield name, tuple(opened.get_slice(name).get_shape())


@contextmanager
def _opened(file: Path, device: torch.device) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): fetch the model again"
        ) from error
