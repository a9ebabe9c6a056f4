"""Encoder, projector and the whole model: sizes, chunks, masks and batches."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_server.engines.midashenglm.checkpoint import load
from model_server.engines.midashenglm.config import read_config
from model_server.engines.midashenglm.encoder import AudioEncoder, Tagger
from model_server.engines.midashenglm.model import MiDashengLM
from tests.server.checkpoints import encoder_config, write_midashenglm

FULL = 1008
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MiDashengLM:
    return load(write_midashenglm(tmp_path_factory.mktemp("tiny")), CPU).model


def noise(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=generator) * 0.1


def near(ours: Tensor, other: Tensor) -> bool:
    return torch.allclose(ours, other, atol=2e-5, rtol=1e-4)


# The official geometry, as the reference has it.
OFFICIAL = {
    "model_type": "midashenglm",
    "subsample_factor": 5,
    "audio_encoder_config": {
        "model_type": "midashenglm_dasheng_encoder",
        "embed_dim": 1280,
        "depth": 32,
        "num_heads": 16,
        "patch_size": [64, 4],
        "patch_stride": [64, 4],
        "target_length": 1008,
        "f_max": 8000,
    },
    "text_config": {
        "model_type": "qwen2_5_omni_text",
        "rope_scaling": {"mrope_section": [16, 24, 24], "type": "default"},
    },
}


def test_the_7b_has_exactly_the_official_parameters_and_tensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(OFFICIAL))
    with torch.device("meta"):
        model = MiDashengLM(read_config(tmp_path))

    def parameters(part: nn.Module) -> int:
        return sum(each.numel() for each in part.parameters())

    assert parameters(model.audio_encoder) == 630_333_568
    assert parameters(model.audio_projector) == 35_789_824
    assert parameters(model.decoder) == 7_615_616_512
    assert parameters(model) == 8_281_739_904
    assert len(model.audio_encoder.state_dict()) == 395
    assert len(model.audio_projector.state_dict()) == 4
    assert len(model.decoder.state_dict()) == 339
    assert len(model.state_dict()) == 738
    assert all(each.is_meta for each in model.parameters())


def test_a_second_is_five_tokens(model: MiDashengLM) -> None:
    for seconds in (1, 10, 30):
        assert model.audio_tokens(16000 * seconds) == 5 * seconds
        assert model.audio_embeddings(noise(16000 * seconds)).shape == (5 * seconds, 64)


@pytest.mark.parametrize("samples", [0, 1, 300, 3199, 3200, 6399, 161_279, 161_280])
def test_the_number_of_tokens_is_told_beforehand(
    model: MiDashengLM, samples: int
) -> None:
    tokens = model.audio_embeddings(noise(samples))

    assert len(tokens) == model.audio_tokens(samples)
    assert len(tokens) >= 1
    assert tokens.isfinite().all()


def test_groups_of_five_patches_cross_the_borders_of_chunks(model: MiDashengLM) -> None:
    mel = model.front_end(noise(16000 * 21))
    chunks = model.chunks(mel)
    assert [chunk.shape[-1] for chunk in chunks] == [FULL, FULL, 85]
    patches = model.encode_clip(mel)
    assert [len(each) for each in patches] == [252, 252, 21]

    tokens = model.project(torch.cat(patches))

    assert len(tokens) == 525 // 5
    # The group of patches 250 to 254 has two of the first chunk, three of the second.
    group = torch.cat([patches[0][250:], patches[1][:3]])
    assert near(tokens[50], model.project(group)[0])
    # The last patches that fill no group are dropped.
    assert len(model.project(patches[0])) == 50


def test_chunks_are_independent_and_positions_start_again(model: MiDashengLM) -> None:
    mel = model.front_end(noise(16000 * 21))
    first, second, _ = model.chunks(mel)

    alone = model.encode_chunks([first, second])
    repeated = model.encode_chunks([second, first, second])

    assert near(alone[1], repeated[0])
    assert near(alone[1], repeated[2])
    # The same sound in another chunk has the same embeddings: no offset of positions.
    twice = model.encode_clip(torch.cat([first, first, first[:, :8]], dim=1))
    assert near(twice[0], twice[1])


def test_full_chunks_of_a_clip_are_encoded_in_one_pass(model: MiDashengLM) -> None:
    batches: list[tuple[int, ...]] = []
    handle = model.audio_encoder.register_forward_pre_hook(
        lambda _, given: batches.append(tuple(given[0].shape))
    )
    model.audio_embeddings(noise(16000 * 45))
    handle.remove()

    # 4 full chunks and what is left of 45 s.
    assert batches == [(4, 64, FULL), (1, 64, 4501 - 4 * FULL)]


def test_batches_of_unequal_clips_give_what_each_gives_alone(
    model: MiDashengLM,
) -> None:
    clips = [noise(samples, samples) for samples in (16000, 16000, 50_000, 170_000)]
    mels = [model.front_end(clip) for clip in clips]
    chunks = [chunk for mel in mels for chunk in model.chunks(mel)]
    ends = [
        place == len(model.chunks(mel)) - 1
        for mel in mels
        for place in range(len(model.chunks(mel)))
    ]

    together = torch.cat(model.encode_chunks(chunks, ends))
    alone = torch.cat([torch.cat(model.encode_clip(mel)) for mel in mels])

    assert near(together, alone)


def test_true_keeps_a_patch_and_false_hides_it(model: MiDashengLM) -> None:
    encoder = model.audio_encoder
    mel = model.front_end(noise(16000 * 4))[None, :, :400]
    changed = mel.clone()
    changed[..., 240:] += 20

    keep = torch.arange(100)[None] < 60
    hidden = encoder(mel, keep)
    assert near(hidden[:, :60], encoder(changed, keep)[:, :60])
    # Padded and masked is the same as never there.
    assert near(hidden[:, :60], encoder(mel[..., :240]))
    # Were the mask the other way round, or none, the change would be heard.
    assert not near(encoder(mel)[:, :60], encoder(changed)[:, :60])
    assert not near(encoder(mel, ~keep)[:, :60], encoder(changed, ~keep)[:, :60])
    assert near(encoder(mel, torch.ones(1, 100, dtype=torch.bool)), encoder(mel))


def test_an_empty_chunk_is_not_computed_and_harms_no_other(model: MiDashengLM) -> None:
    mels = torch.stack([model.front_end(noise(16000, seed)) for seed in range(3)])
    keep = torch.ones(3, 25, dtype=torch.bool)
    keep[1] = False

    out = model.audio_encoder(mels, keep)

    assert torch.equal(out[1], torch.zeros_like(out[1]))
    assert near(out[[0, 2]], model.audio_encoder(mels[[0, 2]]))
    assert not model.audio_encoder(mels, torch.zeros_like(keep)).any()


def test_the_last_patch_is_attended_to_only_if_all_of_it_was_heard(
    model: MiDashengLM,
) -> None:
    # 16,480 samples are 25.75 patches of 640; centred frames make 26 of them.
    mel = model.front_end(noise(16_480))
    (ours,) = model.encode_clip(mel)

    keep = torch.arange(26)[None] < 25
    assert near(ours, model.audio_encoder(mel[None], keep)[0])
    # A chunk that is cut within a clip is all heard, also where it is not full.
    (within,) = model.encode_chunks([mel], [False])
    assert near(within, model.audio_encoder(mel[None])[0])
    assert not near(within[:25], ours[:25])


def test_a_full_last_chunk_is_heard_as_far_as_the_clip_goes(
    model: MiDashengLM,
) -> None:
    whole = model.front_end(noise(160 * FULL))
    less = model.front_end(noise(160 * FULL - 1))
    # One frame more than a chunk makes no patch, but tells that all of it was heard.
    assert whole.shape[-1] == FULL + 1
    assert less.shape[-1] == FULL

    (all_heard,) = model.encode_clip(whole)
    (not_all,) = model.encode_clip(less)

    assert near(all_heard, model.audio_encoder(whole[None, :, :FULL])[0])
    keep = torch.arange(252)[None] < 251
    assert near(not_all, model.audio_encoder(less[None], keep)[0])
    assert not near(not_all, model.audio_encoder(less[None])[0])


def test_a_lone_patch_hears_itself(model: MiDashengLM) -> None:
    mel = model.front_end(noise(160 * FULL + 500))
    assert mel.shape[-1] == FULL + 4

    full, rest = model.encode_clip(mel)

    assert len(full) == 252
    assert len(rest) == 1
    assert near(rest, model.audio_encoder(mel[None, :, FULL:])[0])


@pytest.mark.parametrize("frames", [3, 1012])
def test_a_chunk_of_a_length_that_cannot_be_is_refused(
    model: MiDashengLM, frames: int
) -> None:
    with pytest.raises(ValueError, match=f"4 to 1008 frames, not {frames}"):
        model.audio_encoder(torch.zeros(1, 64, frames))


def test_patches_of_ced_are_in_the_order_band_then_time() -> None:
    config = encoder_config(
        patch_size=(16, 16), patch_stride=(16, 16), target_length=1012, depth=0
    )
    encoder = AudioEncoder(config)
    with torch.no_grad():
        encoder.time_pos_embed[0, 0, 0] = torch.arange(63)
        encoder.freq_pos_embed[0, 0, :, 0] = 100 * torch.arange(4)
        encoder.patch_embed.proj.weight.zero_()
        encoder.patch_embed.proj.bias.zero_()
    encoder.norm = nn.Identity()

    out = encoder(torch.zeros(1, 64, 33))

    assert encoder.patches(33) == 8
    assert out[0, :, 0].tolist() == [0, 1, 100, 101, 200, 201, 300, 301]


def test_layer_scales_are_there_only_where_a_checkpoint_has_them() -> None:
    without = AudioEncoder(encoder_config()).state_dict()
    encoder = AudioEncoder(encoder_config(init_values=1e-8))
    names = set(encoder.state_dict()) - set(without)

    assert names == {f"blocks.{n}.ls{k}.gamma" for n in (0, 1) for k in (1, 2)}
    mels = torch.zeros(1, 64, 8)
    nothing = AudioEncoder(encoder_config(depth=0))
    nothing.load_state_dict(encoder.state_dict(), strict=False)
    # Scaled by so little, the blocks change next to nothing.
    assert near(encoder(mels), nothing(mels))


@pytest.mark.parametrize("pooling", ["mean", "logit", "dm"])
def test_a_tagger_scores_each_class_between_0_and_1(pooling: str) -> None:
    torch.manual_seed(0)
    tagger = Tagger(
        encoder_config(
            patch_size=(16, 16),
            patch_stride=(16, 16),
            target_length=1012,
            outputdim=7,
            pooling=pooling,
        )
    )
    mels = torch.randn(3, 64, 160)
    patches = tagger.encoder(mels)

    scores, embeddings = tagger(mels)

    assert scores.shape == (3, 7)
    assert near(embeddings, patches.mean(1))
    head: Callable[[Tensor], Tensor] = tagger.outputlayer
    expected = head(patches.mean(1)).sigmoid()
    if pooling == "dm":
        moments = torch.stack([patches[:, column::10].mean(1) for column in range(10)])
        expected = head(moments).sigmoid().mean(0)
    assert near(scores, expected)


def test_in_bfloat16_the_front_end_and_batch_norm_stay_in_float32(
    tmp_path: Path,
) -> None:
    folder = write_midashenglm(tmp_path, dtype=torch.bfloat16)
    model = load(folder, CPU, torch.bfloat16).model

    assert model.audio_encoder.init_bn.weight.dtype == torch.float32
    assert model.audio_encoder.init_bn.running_var.dtype == torch.float32
    assert model.front_end.filters.dtype == torch.float32
    assert model.front_end(noise(16000)).dtype == torch.float32
    kinds = {
        each.dtype for name, each in model.named_parameters() if "init_bn" not in name
    }
    assert kinds == {torch.bfloat16}
    tokens = model.audio_embeddings(noise(48000))
    assert tokens.dtype == torch.bfloat16
    exact = load(folder, CPU).model.audio_embeddings(noise(48000))
    aligned = torch.cosine_similarity(tokens.float(), exact)
    assert aligned.min() > 0.995
