"""A MiDashengLM checkpoint on disk to a model that is ready, without the network."""

from __future__ import annotations

from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
import torch

from model_server.engines.midashenglm.config import CheckpointError, read_config
from model_server.engines.midashenglm.frontend import FrontEnd
from model_server.engines.midashenglm.model import MiDashengLM
from model_server.engines.midashenglm.quantised import quantise
from model_server.engines.midashenglm.weights import FRONT_END, Tensors, fill
from model_server.fetched import check_sizes, version

_LOGGER = logging.getLogger(__name__)

HEAD: Final = "decoder.lm_head.weight"

_SPECIAL: Final = {
    "im_start": "<|im_start|>",
    "im_end": "<|im_end|>",
    "endoftext": "<|endoftext|>",
    "audio": "<|AUDIO|>",
    "audio_bos": "<|audio_bos|>",
    "audio_eos": "<|audio_eos|>",
}


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
    """A model that is ready, what reads and writes its tokens, and which one it is."""

    model: MiDashengLM
    tokenizer: Tokenizer
    tokens: SpecialTokens
    version: str


def load(
    folder: Path, device: torch.device, dtype: torch.dtype | None = None
) -> Loaded:
    """Load a MiDashengLM checkpoint from a folder; the network is never used.

    `dtype` is of the weights: without it bfloat16 on CUDA and float32 elsewhere. The
    front end and the batch norm behind it are float32 in any case, and quantised
    weights stay so. Raises CheckpointError for everything that is missing, broken,
    unexpected or misshapen, and EngineError for a folder that is not what was fetched.
    """
    check_sizes(folder)
    config = read_config(folder)
    tensors = Tensors.open(folder)
    tokenizer, tokens = read_tokenizer(folder, config.text["vocab_size"])
    weights = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    # Tied or not is told by what the checkpoint holds, since config.json may not say
    # and transformers' default changed between its versions 4 and 5.
    tied = HEAD not in tensors.files
    with torch.device("meta"):
        model = MiDashengLM(config, device=device)
    if tied:
        del model.decoder.lm_head
    quantise(model, tensors, config.quantization, folder)
    check_front_end(model.front_end, tensors)
    fill(model, tensors, device, lambda name: weight_dtype(name, weights))
    if tied:
        model.tie_head()
    return Loaded(model, tokenizer, tokens, version(folder))


def weight_dtype(name: str, weights: torch.dtype) -> torch.dtype:
    """The type a tensor is kept in: batch norm of decibels and scales need float32."""
    exact = "init_bn." in name or name.endswith("weight_scale")
    return torch.float32 if exact else weights


def check_front_end(front_end: FrontEnd, tensors: Tensors) -> None:
    """Warn where a checkpoint's window or filters are not those that are computed."""
    for name in tensors.files:
        found = FRONT_END.fullmatch(name)
        if found is None:
            continue
        ours = front_end.window if found["window"] else front_end.filters
        ((_, theirs),) = tensors.read([name], ours.device)
        if theirs.shape != ours.shape or not torch.allclose(
            theirs.float(), ours, rtol=0.0, atol=1e-4
        ):
            _LOGGER.warning(
                "%s: %s is not what the front end computes, and is not used",
                tensors.folder,
                name,
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
    for name, text in _SPECIAL.items():
        token = tokenizer.token_to_id(text)
        if token is None:
            raise CheckpointError(f"{path} has no token {text}: fetch the model again")
        ids[name] = token
    most = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if most >= vocab_size:
        raise CheckpointError(
            f"{path} has token {most}, but text_config.vocab_size is {vocab_size}: "
            "fetch the model again"
        )
    return tokenizer, SpecialTokens(**ids)
