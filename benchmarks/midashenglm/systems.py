"""What is compared: two ways from sound to embeddings, two ways to decode them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.midashenglm.omni import Omni
from benchmarks.midashenglm.sizes import LONGEST, PROMPT_AFTER, PROMPT_BEFORE, Sizes
from model_server.engines.midashenglm.decoding import Decoder
from model_server.engines.midashenglm.encoding import ChunkEncoder
from model_server.engines.midashenglm.model import MiDashengLM

RATE = 16000


def build(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> MiDashengLM:
    """Make the model with random weights, where it will run.

    Weights have `dtype`; the batch norm and what is no weight stay float32, as they
    do for a real checkpoint.
    """
    torch.manual_seed(0)
    with device:
        model = MiDashengLM(sizes.model, device)
    for module in model.modules():
        if not isinstance(module, torch.nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return model


class Hearing:
    """MiDashengLM's way from sound to embeddings, as the engine goes it."""

    def __init__(self, model: MiDashengLM) -> None:
        """Serve a model."""
        self._model = model
        self._encode = ChunkEncoder(model)
        self._device = model.front_end.window.device

    @torch.inference_mode()
    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Clips, (samples,), to the embeddings of each, (tokens, hidden)."""
        chunks: list[Tensor] = []
        ends: list[bool] = []
        for clip in clips:
            cut = self.chunks(clip)
            chunks += cut
            ends += [False] * (len(cut) - 1) + [True]
        patches = iter(self._encode(chunks, ends))
        found: list[Tensor] = []
        clip_patches: list[Tensor] = []
        for each, end in zip(patches, ends, strict=True):
            clip_patches.append(each)
            if end:
                found.append(self._model.project(torch.cat(clip_patches)))
                clip_patches = []
        return found

    def chunks(self, clip: Tensor) -> list[Tensor]:
        """The mel of a clip, cut for the encoder."""
        return self._model.chunks(
            self._model.front_end(clip.to(self._device, non_blocking=True))
        )

    @torch.inference_mode()
    def patches(self, chunks: Sequence[Tensor], *, ended: bool) -> Tensor:
        """Patches of chunks that follow each other, (patches, dim)."""
        ends = [False] * (len(chunks) - 1) + [ended]
        return torch.cat(self._encode(chunks, ends))

    @torch.inference_mode()
    def project(self, patches: Tensor) -> Tensor:
        """Patches to embeddings, (patches // 5, hidden)."""
        return self._model.project(patches)


class Prompting:
    """Text around the audio."""

    def __init__(self, decoder: Any) -> None:
        """Take the text's embeddings from a decoder of transformers."""
        table = decoder.get_input_embeddings().weight
        self.before = table[1 : 1 + PROMPT_BEFORE]
        self.after = table[1 : 1 + PROMPT_AFTER]

    def __call__(self, audio: Tensor) -> Tensor:
        """Put text before and after embeddings of audio, (tokens, hidden)."""
        return torch.cat((self.before, audio, self.after))


Listen = Callable[[Sequence[Tensor]], list[Tensor]]
Decode = Callable[[list[Tensor], int], Tensor]


@dataclass(frozen=True)
class System:
    """Clips to embeddings of whole prompts; a decoder for so many rows of a length."""

    name: str
    listen: Listen
    decoding: Callable[[int, int], Decode]


def in_earshot(model: Any) -> Callable[[int, int], Decode]:
    """Decode as our engine does."""

    def decoding(rows: int, length: int) -> Decode:
        decoder = Decoder(model, rows, length)

        @torch.inference_mode()
        def decode(prompts: list[Tensor], new_tokens: int) -> Tensor:
            used = range(len(prompts))
            tokens = decoder.generate(used, prompts, new_tokens)
            for row in used:
                decoder.truncate(row, 0)
            return tokens

        return decode

    return decoding


def in_transformers(model: Any) -> Callable[[int, int], Decode]:
    """Decode with transformers' generate, as the published figures were measured."""
    model.generation_config.pad_token_id = 0

    def decoding(_rows: int, _length: int) -> Decode:
        @torch.inference_mode()
        def decode(prompts: list[Tensor], new_tokens: int) -> Tensor:
            embeddings = torch.stack(prompts)
            tokens: Tensor = model.generate(
                inputs_embeds=embeddings,
                attention_mask=embeddings.new_ones(
                    embeddings.shape[:2], dtype=torch.int64
                ),
                do_sample=False,
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
            )
            return tokens

        return decode

    return decoding


def systems(model: MiDashengLM, omni: Omni) -> list[System]:
    """All that is compared, ours first; one decoder's weights serve them all."""
    hearing, prompting = Hearing(model), Prompting(model.decoder)
    ours = in_earshot(model.decoder)
    theirs = in_transformers(model.decoder)

    def listen(clips: Sequence[Tensor]) -> list[Tensor]:
        return [prompting(each) for each in hearing(clips)]

    def listen_in_transformers(clips: Sequence[Tensor]) -> list[Tensor]:
        device = model.front_end.window.device
        return [prompting(model.audio_embeddings(clip.to(device))) for clip in clips]

    def omni_batched(clips: Sequence[Tensor]) -> list[Tensor]:
        return [prompting(each) for each in omni.batched(clips)]

    def omni_published(clips: Sequence[Tensor]) -> list[Tensor]:
        return [prompting(each) for each in omni.as_published(clips, padded=True)]

    def omni_unpadded(clips: Sequence[Tensor]) -> list[Tensor]:
        return [prompting(each) for each in omni.as_published(clips, padded=False)]

    return [
        System(EARSHOT, listen, ours),
        System(OMNI_HERE, omni_batched, ours),
        System(OMNI, omni_published, theirs),
        System(OMNI_UNPADDED, omni_unpadded, theirs),
        System(PLAIN, listen_in_transformers, theirs),
    ]


EARSHOT = "MiDashengLM, Earshot"
OMNI_HERE = "Omni, Earshot's decoder"
OMNI = "Omni, transformers"
OMNI_UNPADDED = "Omni, transformers, no padding"
PLAIN = "MiDashengLM, transformers"


class Streaming:
    """Our system on a clip of which all but the last chunk was heard before its end."""

    def __init__(self, model: MiDashengLM, clip: Tensor) -> None:
        """Encode and prefill what is final while a person still speaks."""
        self._hearing, self._prompting = Hearing(model), Prompting(model.decoder)
        self._clip = clip
        tokens = PROMPT_BEFORE + model.audio_tokens(LONGEST * RATE) + PROMPT_AFTER
        self._decoder = Decoder(model.decoder, 1, tokens)
        chunks = self._hearing.chunks(clip)
        self._done = len(chunks) - 1
        patches = self._hearing.patches(chunks[:-1], ended=False)
        groups = len(patches) // model.config.subsample_factor
        # Groups of five cross the border of chunks: the rest waits for the next.
        self._rest = patches[groups * model.config.subsample_factor :].clone()
        self._decoder.prefill(
            [0], [torch.cat((self._prompting.before, self._hearing.project(patches)))]
        )
        self._ahead = self._decoder.filled(0)

    @torch.inference_mode()
    def first_token(self) -> int:
        """What remains after the end of speech, until the first token is known."""
        chunks = self._hearing.chunks(self._clip)[self._done :]
        patches = self._hearing.patches(chunks, ended=True)
        audio = self._hearing.project(torch.cat((self._rest, patches)))
        logits = self._decoder.prefill([0], [torch.cat((audio, self._prompting.after))])
        token = int(logits[0].argmax())
        self._decoder.truncate(0, self._ahead)
        return token
