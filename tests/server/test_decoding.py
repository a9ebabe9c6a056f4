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

from model_server.engines.base import EngineError
from model_server.engines.midashenglm import decoding
from model_server.engines.midashenglm.decoding import (
    Decoder,
    RowFullError,
    bucket,
    row_bucket,
)
from model_server.engines.midashenglm.graphs import Replays

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


@pytest.mark.parametrize("static", [False, True], ids=["exact", "static"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_generating_says_what_transformers_says(kind: str, static: bool) -> None:
    model = qwen(kind)
    decoder = Decoder(model, 6, 90, static=static)
    decoder.prefill([1], [_clip(5, 9)])  # another sequence, which stays as it is
    clips = [_clip(12, 1), _clip(3, 2), _clip(66, 3)]
    found = decoder.generate([5, 0, 2], clips, 9)
    for tokens, clip in zip(found, clips, strict=True):
        expected = model.generate(
            inputs_embeds=clip[None],
            attention_mask=torch.ones(1, len(clip), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=9,
            eos_token_id=-1,
            pad_token_id=0,
        )
        assert tokens.tolist() == expected[0].tolist()
    assert [decoder.filled(row) for row in range(6)] == [11, 5, 74, 0, 0, 20]
    told = torch.cat((_clip(5, 9), decoder.embed([3])))
    torch.testing.assert_close(
        decoder.step([1], [3])[0], _reference(model, told)[-1], atol=2e-4, rtol=1e-3
    )


def test_generating_ends_where_a_row_does() -> None:
    decoder = Decoder(qwen("qwen2"), 2, 20, static=True)
    tokens = decoder.generate([1], [_clip(16)], 5)
    assert tokens.shape == (1, 5)
    assert decoder.filled(1) == 20
    decoder.truncate(1, 16)
    with pytest.raises(RowFullError, match="25 tokens are needed where a row holds 20"):
        decoder.generate([1], [_clip(5)], 5)
    with pytest.raises(ValueError, match="0 new tokens"):
        decoder.generate([0], [_clip(5)], 0)


@pytest.mark.parametrize("static", [False, True], ids=["exact", "static"])
def test_many_rows_are_prefilled_in_portions(
    static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_TOGETHER", 40)
    model = qwen("qwen2")
    decoder = Decoder(model, 9, 60, static=static)
    clips = [_clip(count, count) for count in (3, 50, 9, 9, 30, 1, 12, 8, 4)]
    rows = [4, 0, 8, 1, 7, 2, 6, 3, 5]
    logits = decoder.prefill(rows, clips)
    for found, clip in zip(logits, clips, strict=True):
        expected = _reference(model, clip)[-1]
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_continuations_are_scored_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    model = qwen("qwen3")
    decoder = Decoder(model, 1, 40)
    decoder.prefill([0], [_clip(11)])
    asked = [[5, 6, 7, 8], [9], [5, 6, 1], [2, 3, 4, 5, 6, 7], []]
    whole = decoder.score(0, asked)
    monkeypatch.setattr(decoding, "_TOGETHER", 4)
    monkeypatch.setattr(decoding, "_SCORED", 2)
    torch.testing.assert_close(decoder.score(0, asked), whole, atol=1e-4, rtol=1e-4)
    assert decoder.filled(0) == 11


def test_steps_of_few_shapes_are_prepared_once() -> None:
    decoder = Decoder(qwen("qwen2"), 16, 200, static=True)
    decoder.prefill([0], [_clip(40)])
    assert decoder.graphs == 1
    for _ in range(20):
        decoder.step([0], [1])
    assert decoder.graphs == 2  # of 64 places
    for _ in range(10):
        decoder.step([0], [1])
    assert decoder.graphs == 3  # of 128
    decoder.prefill([2], [_clip(50)])
    decoder.step([2], [1])
    assert decoder.graphs == 4  # the rows up to 2 are a step of four


def test_what_was_prepared_is_not_recorded_again() -> None:
    decoder = Decoder(qwen("qwen2"), 8, 200, static=True)
    decoder.prepare([(0, 40), (64, 90), (1, 199)], rows=4)
    prepared = decoder.graphs
    # Prompts of 64 tokens, and of 128 after 64; steps of 1, 2 and 4 rows after each.
    assert prepared == 2 + 2 * 3
    assert [decoder.filled(row) for row in range(8)] == [0] * 8
    for row, count in enumerate((33, 64, 60)):
        decoder.prefill([row], [_clip(count)])
    decoder.prefill([1], [_clip(70)])
    decoder.step([0], [1])
    decoder.step([0, 1], [1, 1])
    decoder.step([2], [1])
    assert decoder.graphs == prepared
    with pytest.raises(ValueError, match="rows are in use"):
        decoder.prepare([(0, 40)])


def test_a_decoder_without_fixed_shapes_prepares_nothing() -> None:
    decoder = Decoder(qwen("qwen2"), 2, 20)
    decoder.prepare([(0, 3)])
    decoder.prefill([0], [_clip(3)])
    decoder.step([0], [1])
    assert decoder.graphs == 0


def test_a_refused_call_writes_nothing() -> None:
    model = qwen("qwen2")
    decoder = Decoder(model, 3, 20)
    told = _clip(10)
    decoder.prefill([0], [told])
    for call in (
        lambda: decoder.prefill([1, 0], [_clip(5, 7), _clip(11, 8)]),
        lambda: decoder.generate([0], [_clip(5)], 7),
        lambda: decoder.score(0, [[1], list(range(11))]),
    ):
        with pytest.raises(RowFullError) as full:
            call()
        assert isinstance(full.value, EngineError)
        assert "21 tokens are needed where a row holds 20" in str(full.value)
    assert [decoder.filled(row) for row in range(3)] == [10, 0, 0]
    told = torch.cat((told, decoder.embed([4])))
    torch.testing.assert_close(
        decoder.step([0], [4])[0], _reference(model, told)[-1], atol=2e-4, rtol=1e-3
    )


def test_misuse_is_named() -> None:
    decoder = Decoder(qwen("qwen2"), 2, 20)
    cases: list[tuple[str, Any]] = [
        ("at least one row", lambda: decoder.step([], [])),
        ("at least one token", lambda: decoder.prefill([0], [_clip(0)])),
        ("named twice", lambda: decoder.step([1, 1], [3, 4])),
        ("1 tokens for 2 rows", lambda: decoder.step([0, 1], [3])),
        ("no row 2", lambda: decoder.prefill([2], [_clip(3)])),
        ("no row -1", lambda: decoder.truncate(-1, 0)),
        ("cannot cut it to 1", lambda: decoder.truncate(0, 1)),
        (r"\(tokens, 64\) is needed", lambda: decoder.prefill([0], [torch.ones(3, 9)])),
        ("0 rows of 5", lambda: Decoder(qwen("qwen2"), 0, 5)),
        ("rows of 600 tokens", lambda: Decoder(qwen("qwen2"), 1, 600)),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()
    assert [decoder.filled(row) for row in range(2)] == [0, 0]


def test_a_sliding_window_is_refused() -> None:
    model = qwen(
        "qwen3", use_sliding_window=True, sliding_window=8, max_window_layers=1
    )
    with pytest.raises(ValueError, match="only full_attention"):
        Decoder(model, 1, 20)


def test_weights_are_joined_without_a_second_copy() -> None:
    model = qwen("qwen2")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    Decoder(model, 1, 20)
    layer = model.model.layers[0]
    attention, mlp = layer.self_attn, layer.mlp
    for parts in (
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (mlp.gate_proj, mlp.up_proj),
    ):
        storages = {each.weight.untyped_storage().data_ptr() for each in parts}
        assert len(storages) == 1
        taken = parts[0].weight.untyped_storage().nbytes()
        assert taken == sum(each.weight.nbytes for each in parts)
    joined = attention.q_proj.weight.data_ptr()
    Decoder(model, 1, 20)
    assert attention.q_proj.weight.data_ptr() == joined
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name])


def test_layers_that_are_more_than_a_product_are_called_as_they_are() -> None:
    """As quantised ones are, which have a forward of their own."""
    model = qwen("qwen2")
    clip = _clip(9)
    changed = [
        part
        for layer in model.model.layers
        for part in (layer.self_attn.k_proj, layer.self_attn.o_proj, layer.mlp.up_proj)
    ]
    for linear in changed:
        forward = linear.forward
        linear.forward = lambda hidden, forward=forward: forward(hidden) * 1.5
    found = Decoder(model, 1, 20).prefill([0], [clip])[0]
    expected = _reference(model, clip)[-1]
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    for linear in changed:
        del linear.forward
    assert not torch.allclose(expected, _reference(model, clip)[-1], atol=1e-2)


def test_the_callers_embeddings_stay_as_they_are() -> None:
    clip = _clip(9)
    before = clip.clone()
    Decoder(qwen("qwen2"), 1, 20).prefill([0], [clip])
    assert torch.equal(clip, before)


def test_sizes_are_rounded_to_few() -> None:
    sizes = {bucket(count, 4096, 64) for count in range(1, 4097)}
    assert len(sizes) < 30
    for count in (1, 64, 65, 500, 513, 3000):
        found = bucket(count, 4096, 64)
        assert count <= found <= max(count + 63, count * 1.25)
    assert bucket(4000, 4032, 64) == 4032
    assert [row_bucket(count, 512) for count in (1, 2, 3, 5, 9, 33, 500)] == [
        1,
        2,
        4,
        8,
        16,
        40,
        512,
    ]
    assert row_bucket(3, 3) == 3


def test_a_replay_keeps_no_memory_of_its_callers() -> None:
    replays = Replays(torch.device("cpu"))
    given = torch.ones(3)
    doubled = replays("double", lambda each: each.mul_(2), given)
    assert doubled.tolist() == [2, 2, 2]
    assert given.tolist() == [1, 1, 1]
    again = replays("double", lambda each: each * 100, torch.full((3,), 5.0))
    assert again.tolist() == [10, 10, 10]
    assert len(replays) == 1


def test_a_pass_that_fails_leaves_rows_and_no_wrong_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_TOGETHER", 20)
    model = qwen("qwen2")
    decoder = Decoder(model, 2, 60)
    told = _clip(9)
    decoder.prefill([0], [told])
    append, portions = decoder._passes.append, []

    def short_of_memory(past: int) -> Any:
        portions.append(past)
        if len(portions) == 2:
            raise torch.OutOfMemoryError
        return append(past)

    monkeypatch.setattr(decoder._passes, "append", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        decoder.prefill([0, 1], [_clip(5, 7), _clip(18, 8)])
    assert [decoder.filled(row) for row in range(2)] == [9, 0]
    with pytest.raises(ValueError, match="must have had a token appended"):
        decoder.score(0, [[1]])
    told = torch.cat((told, decoder.embed([4])))
    expected = _reference(model, told)[-1]
    torch.testing.assert_close(
        decoder.step([0], [4])[0], expected, atol=2e-4, rtol=1e-3
    )
    chances = decoder.score(0, [[1]])
    torch.testing.assert_close(
        chances[0, 0], expected.log_softmax(-1)[1], atol=1e-3, rtol=1e-3
    )
