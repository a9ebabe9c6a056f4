"""Checkpoints on disk to models in memory: safetensors only, every name accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
import hashlib
import logging
from pathlib import Path, PurePosixPath
import re
from typing import Final

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
import torch
from torch import Tensor, nn

from model_server.engines.midashenglm.config import (
    CheckpointError,
    read_config,
    read_json,
)
from model_server.engines.midashenglm.frontend import FrontEnd
from model_server.engines.midashenglm.model import MiDashengLM

_LOGGER = logging.getLogger(__name__)

INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")

HEAD: Final = "decoder.lm_head.weight"

# What the front end computes for itself; some checkpoints carry it all the same.
_WINDOW = r"(?:spectrogram\.window|spectrogram_window)"
_FILTERS = r"(?:mel_scale\.fb|melscale_fbanks)"
_BUFFER: Final = re.compile(rf"front_end\.(?:\d+\.)?(?:({_WINDOW})|({_FILTERS}))$")

Dtypes = Callable[[str], torch.dtype]


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that structure a prompt, as the checkpoint's tokenizer has them."""

    im_start: int
    im_end: int
    endoftext: int
    audio: int
    audio_bos: int
    audio_eos: int


@dataclass(frozen=True)
class Loaded:
    """A model that is ready, what reads and writes its tokens, and where it is from."""

    model: MiDashengLM
    tokenizer: Tokenizer
    tokens: SpecialTokens
    version: str


def load(
    folder: Path, device: torch.device, dtype: torch.dtype | None = None
) -> Loaded:
    """Load a MiDashengLM checkpoint from a folder; the network is never used.

    `dtype` is of the weights: without it bfloat16 on CUDA and float32 elsewhere. The
    front end and the batch norm behind it are float32 in any case. Raises
    CheckpointError for everything that is missing, broken, unexpected or misshapen.
    """
    config = read_config(folder)
    tensors = Tensors.open(folder)
    tokenizer, tokens = read_tokenizer(folder, config.text["vocab_size"])
    weights = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    with torch.device("meta"):
        model = MiDashengLM(config, tied=HEAD not in tensors.names, device=device)
    check_front_end(model.front_end, tensors, "audio_encoder.")
    fill(model, tensors, device, lambda name: weight_dtype(name, weights))
    return Loaded(model, tokenizer, tokens, version(folder))


def weight_dtype(name: str, weights: torch.dtype) -> torch.dtype:
    """The type a tensor is kept in: batch norm of decibels needs float32."""
    return torch.float32 if "init_bn." in name else weights


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint: which file each is in, and its shape."""

    folder: Path
    names: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def open(cls, folder: Path) -> Tensors:
        """Read the index, if any, and the header of every shard. Raises CheckpointError."""
        names: dict[str, Path] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        index = _read_index(folder)
        for file in _shards(folder, index):
            for name, shape in _header(file):
                if name in names:
                    raise CheckpointError(
                        f"{file}: {name} is in {names[name].name} too: "
                        "fetch the model again"
                    )
                names[name] = file
                shapes[name] = shape
        if index is not None:
            astray = [name for name in index if name not in names]
            if astray:
                raise CheckpointError(
                    f"{folder / INDEX} lists tensors that its files lack: "
                    f"{listing(astray)}: fetch the model again"
                )
        return cls(folder, names, shapes)

    def read(
        self, names: Iterable[str], device: torch.device
    ) -> Iterator[tuple[str, Tensor]]:
        """Tensors by name, a file at a time, straight to a device."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.names[name], []).append(name)
        for file, wanted in by_file.items():
            with _opened(file, device) as tensors:
                for name in wanted:
                    yield name, tensors.get_tensor(name)


def fill(
    module: nn.Module, tensors: Tensors, device: torch.device, dtypes: Dtypes
) -> None:
    """Give a module on the meta device its weights. Raises CheckpointError."""
    wanted = dict(module.state_dict(keep_vars=True))
    tied = {name for name in wanted if name == HEAD and name not in tensors.names}
    given = {name for name in tensors.names if not _BUFFER.search(name)}
    missing = [name for name in wanted if name not in given and name not in tied]
    if missing:
        raise CheckpointError(
            f"{tensors.folder} lacks {listing(missing)}: fetch the model again"
        )
    unexpected = [name for name in given if name not in wanted]
    if unexpected:
        raise CheckpointError(
            f"{tensors.folder} has tensors that this model does not: "
            f"{listing(unexpected)}: take a variant that is listed in docs/models.md"
        )
    misshapen = [
        f"{name} {list(tensors.shapes[name])} instead of {list(wanted[name].shape)}"
        for name in given
        if tensors.shapes[name] != tuple(wanted[name].shape)
    ]
    if misshapen:
        raise CheckpointError(
            f"{tensors.folder}: config.json does not fit {listing(misshapen)}"
        )
    for name, tensor in tensors.read(sorted(given), device):
        if tensor.is_floating_point():
            tensor = tensor.to(dtypes(name))
        _assign(module, name, tensor)
    if tied:
        _tie(module)
    _recompute(module, device)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, own = name.rpartition(".")
    part = module.get_submodule(owner)
    if own in part._parameters:
        part._parameters[own] = nn.Parameter(tensor, requires_grad=False)
    else:
        part._buffers[own] = tensor


def _tie(module: nn.Module) -> None:
    decoder = module.get_submodule("decoder")
    table = decoder.get_submodule("model.embed_tokens")._parameters["weight"]
    decoder.get_submodule("lm_head")._parameters["weight"] = table


def _recompute(module: nn.Module, device: torch.device) -> None:
    """Buffers that no checkpoint holds and that meta left empty: rotary frequencies."""
    for name, part in list(module.named_modules()):
        if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
            owner, _, own = name.rpartition(".")
            with torch.device(device):
                fresh = type(part)(config=part.config)
            setattr(module.get_submodule(owner), own, fresh)
    left = [name for name, each in module.named_buffers() if each.is_meta]
    left += [name for name, each in module.named_parameters() if each.is_meta]
    assert not left, left


def check_front_end(front_end: FrontEnd, tensors: Tensors, prefix: str) -> None:
    """Warn where a checkpoint's window or filters are not those that are computed."""
    for name in tensors.names:
        found = _BUFFER.fullmatch(name.removeprefix(prefix))
        if found is None:
            continue
        ours = front_end.window if found[1] else front_end.filters
        ((_, theirs),) = tensors.read([name], ours.device)
        if theirs.shape != ours.shape or not torch.allclose(
            theirs.float(), ours, atol=1e-4
        ):
            _LOGGER.warning(
                "%s: %s differs from what the front end computes", tensors.folder, name
            )


def read_tokenizer(folder: Path, vocab_size: int) -> tuple[Tokenizer, SpecialTokens]:
    """The tokenizer and its special tokens, found by their text. Raises CheckpointError."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: fetch the model again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # tokenizers raises plain Exception, whatever is wrong with the file.
        raise CheckpointError(
            f"{path} is no tokenizer ({error}): fetch the model again"
        ) from error
    ids: dict[str, int] = {}
    for name, text in {
        "im_start": "<|im_start|>",
        "im_end": "<|im_end|>",
        "endoftext": "<|endoftext|>",
        "audio": "<|AUDIO|>",
        "audio_bos": "<|audio_bos|>",
        "audio_eos": "<|audio_eos|>",
    }.items():
        token = tokenizer.token_to_id(text)
        if token is None:
            raise CheckpointError(f"{path} has no token {text}: fetch the model again")
        ids[name] = token
    if tokenizer.get_vocab_size(with_added_tokens=True) > vocab_size:
        raise CheckpointError(
            f"{path} has more tokens than the decoder's {vocab_size}: "
            "fetch the model again"
        )
    return tokenizer, SpecialTokens(**ids)


def version(folder: Path) -> str:
    """Which checkpoint this is: the folder's name and a hash of what describes it."""
    digest = hashlib.sha256()
    for name in ("config.json", INDEX):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return f"{folder.name}@{digest.hexdigest()[:12]}"


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
        if (
            not isinstance(file, str)
            or PurePosixPath(file).name != file
            or "\\" in file
        ):
            raise CheckpointError(
                f"{path} names {file!r}, which is not a file beside it"
            )
        if not file.endswith(".safetensors"):
            raise CheckpointError(f"{path} names {file}: only .safetensors are read")
    return weight_map


def _shards(folder: Path, index: Mapping[str, str] | None) -> list[Path]:
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
        f"{folder} has no {SINGLE} and no {INDEX}: "
        "fetch a model, or give the folder of one"
    )


def _header(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    with _opened(file, torch.device("cpu")) as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no dictionary, and not iterable
            yield name, tuple(tensors.get_slice(name).get_shape())


def _opened(file: Path, device: torch.device) -> safe_open:
    try:
        return safe_open(file, framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): fetch the model again"
        ) from error
