"""Chunks of any lengths are encoded in one shape, and nothing else changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from model_server.engines.midashenglm import clips, hearing
from model_server.engines.midashenglm.config import read_config
from model_server.engines.midashenglm.decoding import Decoder
from model_server.engines.midashenglm.encoding import ChunkEncoder
from model_server.engines.midashenglm.model import MiDashengLM
from tests.server.checkpoints import write_midashenglm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MiDashengLM:
    folder: Path = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    model = MiDashengLM(read_config(write_midashenglm(folder)))
    with torch.no_grad():
        for parameter in model.audio_encoder.parameters():
            parameter.normal_(0, 0.3)
    return model


def test_padded_chunks_get_the_patches_of_chunks_of_their_true_length(
    model: MiDashengLM,
) -> None:
    torch.set_num_threads(1)
    encode = ChunkEncoder(model, static=True)
    mels = [torch.randn(64, frames) * 10 for frames in (1008, 300, 4, 985, 1008)]
    ends = [False, False, True, True, True]
    found = encode(mels, ends)
    expected = model.encode_chunks(mels, ends)
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_what_was_encoded_stays_when_more_is_encoded(model: MiDashengLM) -> None:
    encode = ChunkEncoder(model, static=True)
    first = encode([torch.randn(64, 1008)])[0]
    before = first.clone()
    encode([torch.randn(64, 1008)])
    assert torch.equal(first, before)


@pytest.mark.parametrize("count", [9, 50])
def test_many_chunks_are_encoded_as_they_are(model: MiDashengLM, count: int) -> None:
    mels = [torch.randn(64, 40) for _ in range(count)]
    found = ChunkEncoder(model, static=True)(mels)
    expected = model.encode_chunks(mels)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_without_a_gpu_no_chunk_is_padded(
    model: MiDashengLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[torch.Size] = []
    forward = model.audio_encoder.forward
    monkeypatch.setattr(
        model.audio_encoder,
        "forward",
        lambda mels, keep: shapes.append(mels.shape) or forward(mels, keep),
    )
    ChunkEncoder(model)([torch.randn(64, 1008), torch.randn(64, 120)])
    assert sorted(shapes) == [(1, 64, 120), (1, 64, 1008)]


def test_what_was_prepared_is_not_recorded_again(model: MiDashengLM) -> None:
    encode = ChunkEncoder(model, static=True)
    encode.prepare(2)
    assert encode.graphs == 2
    encode([torch.randn(64, 1008), torch.randn(64, 77)])
    encode([torch.randn(64, 500)])
    assert encode.graphs == 2
    plain = ChunkEncoder(model)
    plain.prepare(2)
    assert plain.graphs == 0


def test_an_engine_is_prepared_for_the_first_command(
    model: MiDashengLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fixed shapes, as on a GPU."""
    monkeypatch.setattr(hearing, "Decoder", partial(Decoder, static=True))
    monkeypatch.setattr(clips, "ChunkEncoder", partial(ChunkEncoder, static=True))
    words = model.config.text["vocab_size"]
    ears = hearing.Ears(model, 2, 300, np.ones(words, np.bool_))
    recorded = ears.decoder.graphs
    assert recorded > 0
    hidden = model.config.text["hidden_size"]
    ears.decoder.prefill([0], [torch.zeros(57, hidden)])
    ears.decoder.prefill([1], [torch.zeros(104, hidden)])
    ears.decoder.prefill([1], [torch.zeros(88, hidden)])
    ears.decoder.step([0], [1])
    ears.decoder.step([0, 1], [1, 2])
    assert ears.decoder.graphs == recorded
