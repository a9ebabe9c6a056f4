"""Batched decoding says what transformers' own forward says, whatever the rows do."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
import pytest
import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from model_server.engines.midashenglm.decoding import Decoder, RowFullError

_WORDS, _HIDDEN = 97, 64


def qwen(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Make a tiny decoder with random weights, biases and norms too."""
    config, model = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[kind]
    sizes = {
        "vocab_size": _WORDS,
        "hidden_size": _HIDDEN,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 16 if kind == "qwen3" else 8,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "tie_word_embeddings": False,
    }
    torch.manual_seed(1)
    made = model(config(**(sizes | changes))).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.2) if parameter.dim() > 1 else parameter.add_(
                torch.randn_like(parameter) * 0.3
            )
    return made.to(dtype)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.inference_mode()
def _reference(model: PreTrainedModel, embeddings: Tensor) -> Tensor:
    """Logits after each token by the model's own forward, (tokens, vocabulary)."""
    logits: Tensor = model(inputs_embeds=embeddings[None]).logits[0].float()
    return logits


def _clip(tokens: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, _HIDDEN, generator=generator).to(dtype)


_TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.25}


@pytest.mark.parametrize("static", [False, True], ids=["exact", "static"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_rows_of_different_lengths_get_the_logits_of_the_models_own_forward(
    kind: str, dtype: torch.dtype, static: bool
) -> None:
    model = qwen(kind, dtype)
    decoder = Decoder(model, 5, 100, static=static)
    clips = {4: _clip(7, 1, dtype), 0: _clip(70, 2, dtype), 2: _clip(1, 3, dtype)}
    logits = decoder.prefill(list(clips), list(clips.values()))
    assert logits.dtype == torch.float32
    told = dict(clips)
    for turn in range(4):
        for found, row in zip(logits, told, strict=True):
            expected = _reference(model, told[row])[-1]
            torch.testing.assert_close(
                found, expected, atol=_TOLERANCE[dtype], rtol=0.05
            )
        tokens = [(turn * 31 + row) % _WORDS for row in told]
        logits = decoder.step(list(told), tokens)
        for row, token in zip(told, tokens, strict=True):
            told[row] = torch.cat((told[row], decoder.embed([token])))
    assert [decoder.filled(row) for row in range(5)] == [74, 0, 5, 0, 11]


class _Rows(RuleBasedStateMachine):
    """Anything may happen to any row in any order: each row stays its own sequence."""

    model: PreTrainedModel
    static: bool

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder(self.model, 4, 30, static=self.static)
        self.told = [torch.empty(0, _HIDDEN) for _ in range(4)]
        self.cut = [True] * 4
        self.seed = 0

    def _matches(self, logits: Tensor, rows: list[int]) -> None:
        for found, row in zip(logits, rows, strict=True):
            torch.testing.assert_close(
                found,
                _reference(self.model, self.told[row])[-1],
                atol=3e-4,
                rtol=1e-3,
            )

    def _append(self, row: int, more: Tensor) -> None:
        self.told[row] = torch.cat((self.told[row], more))
        self.cut[row] = False

    @rule(
        rows=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
        counts=st.lists(st.integers(1, 12), min_size=4, max_size=4),
    )
    def prefill(self, rows: list[int], counts: list[int]) -> None:
        self.seed += 1
        clips = [_clip(counts[row], self.seed * 10 + row) for row in rows]
        if any(
            len(self.told[row]) + len(clip) > 30
            for row, clip in zip(rows, clips, strict=True)
        ):
            with pytest.raises(RowFullError):
                self.decoder.prefill(rows, clips)
            return
        logits = self.decoder.prefill(rows, clips)
        for row, clip in zip(rows, clips, strict=True):
            self._append(row, clip)
        self._matches(logits, rows)

    @rule(
        rows=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
        token=st.integers(0, _WORDS - 1),
    )
    def step(self, rows: list[int], token: int) -> None:
        tokens = [(token + 7 * row) % _WORDS for row in rows]
        if any(len(self.told[row]) >= 30 for row in rows):
            with pytest.raises(RowFullError):
                self.decoder.step(rows, tokens)
            return
        logits = self.decoder.step(rows, tokens)
        for row, each in zip(rows, tokens, strict=True):
            self._append(row, self.decoder.embed([each]))
        self._matches(logits, rows)

    @rule(source=st.integers(0, 3), copy=st.integers(0, 3))
    def fork(self, source: int, copy: int) -> None:
        if len(self.told[copy]):
            with pytest.raises(ValueError, match="in use"):
                self.decoder.fork(source, [copy])
            return
        self.decoder.fork(source, [copy])
        self.told[copy] = self.told[source]
        self.cut[copy] = self.cut[source]

    @rule(row=st.integers(0, 3), share=st.sampled_from([0.0, 0.5, 0.9]))
    def truncate(self, row: int, share: float) -> None:
        length = int(len(self.told[row]) * share)
        self.cut[row] |= length < len(self.told[row])
        self.decoder.truncate(row, length)
        self.told[row] = self.told[row][:length]

    @rule(
        row=st.integers(0, 3),
        continuations=st.lists(
            st.lists(st.integers(0, _WORDS - 1), max_size=4), min_size=1, max_size=4
        ),
    )
    def score(self, row: int, continuations: list[list[int]]) -> None:
        longest = max(len(each) for each in continuations)
        if not len(self.told[row]) or self.cut[row]:
            with pytest.raises(ValueError, match="must have had a token appended"):
                self.decoder.score(row, continuations)
            return
        if len(self.told[row]) + longest > 30:
            with pytest.raises(RowFullError):
                self.decoder.score(row, continuations)
            return
        found = self.decoder.score(row, continuations)
        assert found.shape == (len(continuations), longest)
        for tokens, chances in zip(continuations, found, strict=True):
            told = torch.cat((self.told[row], self.decoder.embed(tokens)))
            expected = _reference(self.model, told).log_softmax(-1)
            for place, token in enumerate(tokens):
                before = expected[len(self.told[row]) + place - 1, token]
                torch.testing.assert_close(chances[place], before, atol=1e-3, rtol=1e-3)
            assert not chances[len(tokens) :].any()

    @invariant()
    def counts_tokens(self) -> None:
        assert [self.decoder.filled(row) for row in range(4)] == [
            len(each) for each in self.told
        ]


@pytest.mark.parametrize("static", [False, True], ids=["exact", "static"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_rows_stay_apart_whatever_happens_to_them(kind: str, static: bool) -> None:
    case: Any = type("Case", (_Rows,), {"model": qwen(kind), "static": static}).TestCase
    case.settings = settings(
        max_examples=15,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
