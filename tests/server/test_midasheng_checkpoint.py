"""Loading checkpoints: round trips, and a sentence for every way to be broken."""

from __future__ import annotations

from collections.abc import Callable
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor

from model_server.engines.base import EngineError
from model_server.engines.midashenglm.checkpoint import load
from model_server.engines.midashenglm.config import CheckpointError, read_encoder_config
from model_server.engines.midashenglm.encoder import AudioEncoder
from model_server.engines.midashenglm.frontend import FrontEnd
from model_server.engines.midashenglm.weights import Tensors, fill
from tests.server.checkpoints import (
    ENCODER,
    encoder_config,
    encoder_shapes,
    random_tensors,
    tokenizer,
    write_midashenglm,
    write_tensors,
)

CPU = torch.device("cpu")
INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00003.safetensors"


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, read without the loader."""
    return {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def rewritten(
    folder: Path, change: Callable[[dict[str, Tensor]], object], shards: int = 3
) -> Path:
    """The checkpoint with other tensors."""
    tensors = tensors_of(folder)
    change(tensors)
    write_tensors(folder, tensors, shards)
    return folder


def edited(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("kind", ["7b", "0.6b"])
def test_every_weight_arrives_where_its_name_says(tmp_path: Path, kind: Any) -> None:
    folder = write_midashenglm(tmp_path / "tiny", kind)

    loaded = load(folder, CPU)

    held = loaded.model.state_dict()
    original = tensors_of(folder)
    for name, tensor in original.items():
        assert torch.equal(held[name], tensor), name
    extra = set(held) - set(original)
    assert extra == (set() if kind == "7b" else {"decoder.lm_head.weight"})
    assert not any(
        each.is_meta for each in (*loaded.model.parameters(), *loaded.model.buffers())
    )
    assert not any(each.requires_grad for each in loaded.model.parameters())
    assert not loaded.model.training
    tokens = loaded.model.audio_embeddings(torch.zeros(16000))
    logits = loaded.model.decoder(inputs_embeds=tokens[None]).logits
    assert logits.isfinite().all()


def test_the_head_is_tied_exactly_if_the_checkpoint_has_none(tmp_path: Path) -> None:
    # What config.json says of it does not matter, nor what transformers takes for it.
    text = {"tie_word_embeddings": True}
    untied = load(write_midashenglm(tmp_path / "untied", text=text), CPU).model.decoder
    tied = load(
        write_midashenglm(
            tmp_path / "tied", tied=True, text={"tie_word_embeddings": False}
        ),
        CPU,
    ).model.decoder

    table = untied.get_input_embeddings().weight
    assert not torch.equal(untied.lm_head.weight, table)
    assert untied.config.tie_word_embeddings is False
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    assert tied.config.tie_word_embeddings is True


def test_rotary_frequencies_are_those_of_the_decoders_own_class(tmp_path: Path) -> None:
    decoder = load(write_midashenglm(tmp_path), CPU).model.decoder
    fresh = type(decoder)(decoder.config)

    for ours, theirs in zip(
        decoder.model.rotary_emb.buffers(),
        fresh.model.rotary_emb.buffers(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    assert float(decoder.model.rotary_emb.inv_freq[1]) == pytest.approx(
        1e6 ** (-2 / 16)
    )


def test_special_tokens_are_found_by_their_text(tmp_path: Path) -> None:
    loaded = load(write_midashenglm(tmp_path), CPU)

    assert loaded.tokens.audio == tokenizer().token_to_id("<|AUDIO|>")
    assert loaded.tokens.im_end == tokenizer().token_to_id("<|im_end|>")
    assert len({*vars(loaded.tokens).values()}) == 6
    text = '{"text": "turn on the Küche light"}<|im_end|>'
    ids = loaded.tokenizer.encode(text).ids
    assert ids[-1] == loaded.tokens.im_end
    assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_one_file_loads_as_several_do(tmp_path: Path) -> None:
    several = load(write_midashenglm(tmp_path / "several", shards=4), CPU)
    one = load(write_midashenglm(tmp_path / "one", shards=1), CPU)

    assert (tmp_path / "one" / "model.safetensors").is_file()
    for name, tensor in several.model.state_dict().items():
        assert torch.equal(tensor, one.model.state_dict()[name])


def test_a_version_names_the_folder_and_changes_with_what_is_in_it(
    tmp_path: Path,
) -> None:
    first = load(write_midashenglm(tmp_path / "tiny"), CPU).version
    second = load(write_midashenglm(tmp_path / "tiny", shards=2), CPU).version

    assert first.startswith("tiny@")
    assert first != second


@pytest.mark.parametrize("prefix", ["front_end.", "front_end.0."])
def test_a_front_end_in_the_checkpoint_is_compared_and_not_used(
    tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours = FrontEnd(encoder_config())
    window = f"audio_encoder.{prefix}spectrogram.window"
    filters = f"audio_encoder.{prefix}mel_scale.fb"

    folder = rewritten(
        write_midashenglm(tmp_path),
        lambda tensors: tensors.update(
            {window: ours.window.clone(), filters: ours.filters.clone()}
        ),
    )
    with caplog.at_level(logging.WARNING):
        load(folder, CPU)
    assert caplog.text == ""

    rewritten(
        folder,
        lambda tensors: tensors.update(
            {window: ours.window[:400].clone(), filters: ours.filters * 2}
        ),
    )
    with caplog.at_level(logging.WARNING):
        model = load(folder, CPU).model
    assert f"{window} is not what the front end computes" in caplog.text
    assert f"{filters} is not what the front end computes" in caplog.text
    assert torch.equal(model.front_end.filters, ours.filters)


def test_missing_tensors_are_listed_and_counted(tmp_path: Path) -> None:
    def drop(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if ".mlp." in name]:
            del tensors[name]

    with pytest.raises(
        CheckpointError,
        match=r"lacks audio_encoder.blocks.0.mlp.fc1.bias, .* and 9 more: fetch",
    ):
        load(rewritten(write_midashenglm(tmp_path), drop), CPU)


def test_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    def add(tensors: dict[str, Tensor]) -> None:
        tensors["talker.embed.weight"] = torch.zeros(2)
        tensors["decoder.model.layers.2.mlp.up_proj.weight"] = torch.zeros(2)

    with pytest.raises(
        CheckpointError,
        match=r"tells nothing of: decoder.model.layers.2.*, talker.embed.weight: take",
    ):
        load(rewritten(write_midashenglm(tmp_path), add), CPU)


def test_misshapen_tensors_are_listed_with_both_shapes(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path, encoder={"target_length": 1008})
    config = json.loads((folder / "config.json").read_text())
    config["audio_encoder_config"]["target_length"] = 1012
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(
        CheckpointError,
        match=r"time_pos_embed \[1, 32, 1, 252\] instead of \[1, 32, 1, 253\]",
    ):
        load(folder, CPU)


def test_another_subsample_factor_is_seen_by_the_projectors_shape(
    tmp_path: Path,
) -> None:
    folder = write_midashenglm(tmp_path)
    edited(folder / "config.json", subsample_factor=4)

    with pytest.raises(
        CheckpointError, match=r"audio_projector.net.0.weight \[64, 160"
    ):
        load(folder, CPU)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    content = (folder / FIRST).read_bytes()
    for cut in (len(content) - 100, 50, 0):
        (folder / FIRST).write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match=f"{FIRST} cannot be read"):
            load(folder, CPU)
    (folder / FIRST).unlink()
    with pytest.raises(CheckpointError, match=f"{FIRST} cannot be read"):
        load(folder, CPU)


def test_an_index_that_promises_too_much_is_an_error(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]

    edited(folder / INDEX, weight_map=weight_map | {"decoder.ghost": FIRST})
    with pytest.raises(CheckpointError, match=r"its files lack: decoder.ghost"):
        load(folder, CPU)

    (folder / INDEX).write_text("{}")
    with pytest.raises(CheckpointError, match="has no weight_map"):
        load(folder, CPU)


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/x.safetensors", "a\\b", "C:x", 3]
)
def test_an_index_cannot_lead_outside_its_folder(tmp_path: Path, file: object) -> None:
    folder = write_midashenglm(tmp_path)
    edited(folder / INDEX, weight_map={"decoder.model.norm.weight": file})

    with pytest.raises(CheckpointError, match="only files beside it are read"):
        load(folder, CPU)


def test_an_index_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    edited(folder / INDEX, weight_map={"a": "pytorch_model.bin"})

    with pytest.raises(CheckpointError, match=r"only \.safetensors are read"):
        load(folder, CPU)


def test_a_tensor_in_two_files_is_an_error(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    second = folder / "model-00002-of-00003.safetensors"
    both = load_file(second) | dict([next(iter(load_file(folder / FIRST).items()))])
    save_file(both, second)

    with pytest.raises(CheckpointError, match=f"is in {FIRST} too"):
        load(folder, CPU)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_with_a_sentence(
    tmp_path: Path, pickle: str
) -> None:
    folder = write_midashenglm(tmp_path, shards=1)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor"):
        load(folder, CPU)

    (folder / pickle).write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="pickle .* which can run any code"):
        load(folder, CPU)


def test_a_tokenizer_that_cannot_serve_is_named(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    path = folder / "tokenizer.json"
    text = path.read_text()

    path.write_text(text.replace("<|AUDIO|>", "<|PICTURE|>"))
    with pytest.raises(CheckpointError, match=r"has no token <\|AUDIO\|>"):
        load(folder, CPU)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is no tokenizer"):
        load(folder, CPU)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json is missing"):
        load(folder, CPU)


def test_a_tokenizer_with_more_tokens_than_the_decoder_is_refused(
    tmp_path: Path,
) -> None:
    folder = write_midashenglm(tmp_path, text={"vocab_size": 300})
    with pytest.raises(CheckpointError, match=r"token 410, but .*vocab_size is 300"):
        load(folder, CPU)


def test_a_fetched_folder_that_lost_a_byte_is_not_loaded(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path)
    (folder / "fetched.json").write_text(
        json.dumps(
            {
                "name": "midashenglm-7b",
                "repo": "mispeech/midashenglm-7b",
                "revision": "f" * 40,
                "files": {
                    "config.json": {"size": 3, "sha256": "0" * 64, "published": None}
                },
            }
        )
    )
    with pytest.raises(
        EngineError, match=r"config.json has \d+ bytes, not the 3 .* run"
    ):
        load(folder, CPU)


def test_plain_dasheng_loads_into_the_same_encoder(tmp_path: Path) -> None:
    config = ENCODER | {"model_type": "dasheng", "depth": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_tensors(
        tmp_path,
        random_tensors(encoder_shapes(config, "encoder."), 0, torch.float32),
        1,
    )
    with torch.device("meta"):
        encoder = AudioEncoder(read_encoder_config(tmp_path))

    fill(
        encoder,
        Tensors.open(tmp_path),
        CPU,
        lambda _: torch.float32,
        rename=lambda name: name.removeprefix("encoder."),
    )

    assert torch.equal(
        encoder.blocks[2].attn.qkv.weight,
        tensors_of(tmp_path)["encoder.blocks.2.attn.qkv.weight"],
    )
    assert encoder(torch.zeros(1, 64, 40)).shape == (1, 10, 32)


def test_nothing_is_asked_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)

    assert load(write_midashenglm(tmp_path), CPU).model
