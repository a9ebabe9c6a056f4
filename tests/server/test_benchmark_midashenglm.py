"""The benchmark's arithmetic is torch's own count, and its table leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterator
import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
import typer

from benchmarks.midashenglm import __main__ as program, measure
from benchmarks.midashenglm.figures import (
    FAILED,
    NO_MEMORY,
    NO_TIME,
    NOT_MEASURED,
    Cell,
)
from benchmarks.midashenglm.measure import COLUMNS, Clock, Measuring, Plan
from benchmarks.midashenglm.omni import Omni
from benchmarks.midashenglm.report import targets, work_lines
from benchmarks.midashenglm.sizes import FULL, SMALL, Sizes
from benchmarks.midashenglm.systems import (
    EARSHOT,
    OMNI,
    OMNI_HERE,
    RATE,
    Streaming,
    build,
    systems,
)
from benchmarks.midashenglm.work import (
    dasheng_work,
    decoder_work,
    largest_batch,
    limits,
    omni_work,
    row_bytes,
)
from model_server.engines.midashenglm.decoding import Decoder
from model_server.engines.midashenglm.model import MiDashengLM

_CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def full() -> MiDashengLM:
    """The 7B without memory for its weights: operations can be counted all the same."""
    with torch.device("meta"):
        return MiDashengLM(FULL.model)


def _counted(call: Any) -> int:
    # torch counts a product that is added to its result only where that is a new one.
    in_place = {
        torch.ops.aten.addmm_: lambda _, one, other, **__: 2 * prod(one) * other[1]
    }
    counting = FlopCounterMode(display=False, custom_mapping=in_place)
    with counting as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("seconds", [1, 2, 10, 25.3, 30])
def test_operations_of_the_encoder_are_those_that_torch_counts(
    full: MiDashengLM, seconds: float
) -> None:
    frames = 1 + int(seconds * RATE) // 160
    chunks = full.chunks(torch.empty(64, frames, device="meta"))

    def listen() -> None:
        full.project(torch.cat([full.audio_encoder(each[None])[0] for each in chunks]))

    work = dasheng_work(FULL, seconds)
    assert work.operations == _counted(listen)
    assert work.tokens == full.audio_tokens(int(seconds * RATE))


@pytest.mark.parametrize("tokens", [1, 67, 192])
def test_operations_of_the_decoder_are_those_that_torch_counts(
    full: MiDashengLM, tokens: int
) -> None:
    decoder = Decoder(full.decoder, 1, 256)
    embeddings = torch.empty(tokens, 3584, device="meta")
    # What is masked is counted by torch, too: each token sees all.
    assert decoder_work(FULL).forward(tokens, tokens) == _counted(
        lambda: decoder.prefill([0], [embeddings])
    )


@pytest.mark.parametrize("seconds", [2, 7.33, 30])
def test_operations_of_the_baseline_are_those_that_torch_counts(seconds: float) -> None:
    omni = Omni(SMALL, _CPU, torch.float32)
    # Attention that is written out, since torch counts no other on a CPU.
    omni.encoder.config._attn_implementation = "eager"
    clip = torch.randn(int(seconds * RATE))
    mel = omni.mel(clip, padded=False)
    work = omni_work(SMALL, seconds)
    frames = torch.tensor([mel.shape[1]])
    found = _counted(
        lambda: omni.encoder(mel, feature_lens=frames, aftercnn_lens=(frames + 1) // 2)
    )
    assert work.operations == found
    assert [work.tokens] == [
        len(each) for each in omni.as_published([clip], padded=False)
    ]


def test_bytes_are_those_of_the_models_weights(full: MiDashengLM) -> None:
    work, decoder = decoder_work(FULL), full.decoder
    table = decoder.get_input_embeddings().weight.numel()
    weights = sum(each.numel() for each in decoder.parameters())
    assert work.read_bytes == 2 * (weights - table)
    assert work.bytes == 2 * weights
    encoder = sum(
        each.numel()
        for part in (full.audio_encoder, full.audio_projector)
        for each in part.parameters()
    )
    assert dasheng_work(FULL, 30).weight_bytes == pytest.approx(2 * encoder, rel=0.01)


def test_a_row_of_the_cache_takes_what_the_formula_says() -> None:
    model = build(SMALL, _CPU, torch.bfloat16)
    work = decoder_work(SMALL)
    decoder = Decoder(model.decoder, 3, 292)
    logits = 3 * 2 * work.words
    assert decoder.cache_bytes + logits == 3 * row_bytes(work, 292)
    room = 10 * row_bytes(work, 292) + 8192 * 8 * work.mlp
    assert largest_batch(work, 5, 292, room + 5) == 10
    assert largest_batch(work, 6, 292, room + 5) == 9


@pytest.mark.parametrize(
    ("seconds", "encode", "prefill", "first_token"),
    [(1, 0.032, 0.615, 3.6), (10, 0.329, 1.204, 3.7), (30, 0.986, 2.514, 4.5)],
)
def test_limits_are_those_of_the_reference(
    seconds: int, encode: float, prefill: float, first_token: float
) -> None:
    limit = limits(FULL, seconds)
    assert limit.encoder.operations / 1e12 == pytest.approx(encode, rel=0.02)
    found = limit.decoder.prefill(limit.prompt)
    assert found / 1e12 == pytest.approx(prefill, rel=0.001)
    assert 1e3 * limit.first_token_s == pytest.approx(first_token, rel=0.01)


def test_limits_of_decoding_are_those_of_the_reference() -> None:
    limit = limits(FULL, 30)
    assert limit.prompt == 192
    assert limit.decoder.token_bytes == 57344
    assert limit.tokens_per_s == pytest.approx(304, rel=0.002)
    expected = {8: 21.8, 64: 101, 128: 137, 200: 157, 512: 161}
    for batch, samples in expected.items():
        assert limit.samples_per_s(batch, 100) == pytest.approx(samples, rel=0.01)


def test_work_of_the_baseline_is_several_times_ours() -> None:
    lines = {line[0]: line[1:] for line in work_lines()}
    assert lines["tokens of audio"] == ["150", "750", "5.00"]
    assert lines["GMAC until the first token, 30 s"] == ["1,750", "6,200", "3.54"]
    assert lines["MB of keys and values, prompt and answer"][0] == "16.7"


def _audible(omni: Omni) -> Omni:
    with torch.no_grad():
        for parameter in omni.encoder.parameters():
            parameter.normal_(0, 0.2)
    return omni


def test_the_baseline_in_one_batch_is_the_baseline() -> None:
    omni = _audible(Omni(SMALL, _CPU, torch.float32))
    clips = [torch.randn(seconds * RATE) for seconds in (30, 4, 11, 30, 2)]
    expected = omni.as_published(clips, padded=True)
    for together in (clips, clips[:2]):
        found = omni.batched(together)
        for one, other in zip(found, expected, strict=False):
            assert one.shape == (750, 128)
            assert one.std() > 0.1
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_systems_of_one_model_say_the_same_in_both_decoders() -> None:
    model = build(SMALL, _CPU, torch.float32)
    omni = Omni(SMALL, _CPU, torch.float32)
    said = {}
    clips = [torch.randn(4 * RATE), torch.randn(4 * RATE)]
    for system in systems(model, omni):
        prompts = system.listen(clips)
        decode = system.decoding(2, len(prompts[0]) + 6)
        said[system.name] = [decode(prompts, 6).tolist() for _ in range(2)]
    assert said[EARSHOT] == said["MiDashengLM, transformers"]
    assert said[OMNI_HERE] == said[OMNI]
    assert all(first == second for first, second in said.values())


def test_what_was_heard_before_changes_nothing_of_the_first_token() -> None:
    model = build(SMALL, _CPU, torch.float32)
    with torch.no_grad():
        for parameter in model.audio_encoder.parameters():
            parameter.normal_(0, 0.2)
    system = systems(model, Omni(SMALL, _CPU, torch.float32))[0]
    for seed in range(3):
        clip = torch.randn(30 * RATE, generator=torch.Generator().manual_seed(seed))
        prompts = system.listen([clip])
        first = int(system.decoding(1, len(prompts[0]))(prompts, 1))
        streaming = Streaming(model, clip)
        assert [streaming.first_token() for _ in range(2)] == [first, first]


def test_the_table_has_every_row_and_says_what_only_a_gpu_could(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("says what a machine without a GPU prints")
    monkeypatch.setattr(program, "SMALL_QUICK", Plan((2, 30), (1, 2), 3, 1))
    target = tmp_path / "figures.json"
    program.main(target, quick=True)
    printed = capsys.readouterr().out
    full, small = printed.split("### ")[2:4]
    for name, table in (("7B", full), ("Small", small)):
        assert table.startswith(("At " + name, name))
    for row in program.QUICK.rows:
        line = next(each for each in full.splitlines() if f"| {row.name} (" in each)
        cells = [each.strip() for each in line.split("|")[2:-1]]
        assert set(cells) <= {NOT_MEASURED, "–"}
        assert cells[0] == NOT_MEASURED
    for row in program.SMALL_QUICK.rows:
        line = next(each for each in small.splitlines() if f"| {row.name} (" in each)
        cells = [each.strip() for each in line.split("|")[2:-1]]
        assert (cells[0] == NOT_MEASURED) == row.name.startswith("peak memory")
    assert "Targets" in printed.split("### ")[-1]
    data = json.loads(target.read_text())
    assert [each["verdict"] for each in data["targets"]] == [NOT_MEASURED] * 8
    measured = [each for each in data["tables"][1]["figures"] if each["value"]]
    assert {each["system"] for each in measured} == set(COLUMNS)


def test_an_interruption_leaves_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    measured = Measuring._first_token

    def interrupted(self: Measuring, *asked: Any) -> None:
        if self._figures.cells.get((measure.first_token(30), EARSHOT)) is not None:
            raise KeyboardInterrupt
        measured(self, *asked)

    monkeypatch.setattr(Measuring, "_first_token", interrupted)
    with pytest.raises(typer.Exit) as stopped:
        program.main(quick=True)
    assert stopped.value.exit_code == 130
    printed = capsys.readouterr().out
    line = next(
        each
        for each in printed.split("### Small")[1].splitlines()
        if "first token after 30 s (" in each
    )
    assert "p95" in line.split("|")[2]
    assert line.split("|")[3].strip() == NOT_MEASURED


def _measuring(
    sizes: Sizes = SMALL, seconds: float = 60.0
) -> tuple[Measuring, measure.Figures]:
    plan = Plan((2, 30), (1,), 3, 1)
    figures = plan.figures("here")
    clock = Clock(measure.time.monotonic() + seconds)
    return Measuring(sizes, _CPU, plan, clock, figures, lambda: None), figures


def test_nothing_is_begun_when_time_is_over() -> None:
    measuring, figures = _measuring(seconds=-1)
    measuring.everything()
    assert {cell.reason for cell in figures.cells.values()} == {NO_TIME, "–"}
    assert figures.cells[measure.peak(1), EARSHOT].reason == NO_TIME


def test_what_does_not_fit_is_said_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measuring, figures = _measuring()

    def full(*_asked: Any, **_more: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(measuring.omni, "as_published", full)
    measuring.everything()
    assert not figures.failed
    assert figures.cells[measure.throughput(1), OMNI].reason == NO_MEMORY
    assert figures.cells[measure.peak(1), OMNI].reason == NO_MEMORY
    assert figures.value(measure.throughput(1), EARSHOT)
    assert figures.value(measure.throughput(1), OMNI_HERE)


def test_one_figures_error_does_not_cost_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def broken(*_asked: Any) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(program, "SMALL_QUICK", Plan((2, 30), (1,), 3, 1))
    monkeypatch.setattr(Omni, "batched", broken)
    with pytest.raises(typer.Exit) as stopped:
        program.main(quick=True)
    assert stopped.value.exit_code == 1
    printed = capsys.readouterr()
    assert "no kernel for this" in printed.err
    line = next(
        each
        for each in printed.out.split("### Small")[1].splitlines()
        if "30 s clips, batch 1 (" in each
    )
    cells = [each.strip() for each in line.split("|")[2:-1]]
    assert cells[1] == FAILED
    assert float(cells[0]) > 0
    assert float(cells[2]) > 0


def test_the_largest_batch_is_one_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan((2, 30), (1,), 3, 1, largest=True)
    figures = plan.figures("here")
    clock = Clock(measure.time.monotonic() + 60)
    measuring = Measuring(SMALL, _CPU, plan, clock, figures, lambda: None)
    monkeypatch.setattr(measuring, "_peak", lambda _system: 79.4)
    generate, asked = Decoder.generate, []

    def limited(self: Decoder, rows: Any, *more: Any) -> Any:
        asked.append(len(rows))
        if len(rows) > 8:
            try:
                raise torch.OutOfMemoryError
            finally:
                # As ending the recording of a graph may.
                raise RuntimeError("the recording failed")
        return generate(self, rows, *more)

    monkeypatch.setattr(Decoder, "generate", limited)
    measuring._largest(measuring._systems[0], 10)
    assert asked == [10, 9, 8]
    cell = figures.cells[measure.LARGEST, EARSHOT]
    assert (cell.value, cell.detail) == (8, "79 GB")
    measuring._largest(measuring._systems[1], 99)
    assert figures.cells[measure.LARGEST, OMNI_HERE].reason == NO_MEMORY


def test_targets_are_met_or_not_by_what_was_found() -> None:
    figures = program.PLAN.figures("as on a GPU")
    found = {
        (measure.first_token(30), EARSHOT): 8.0,
        (measure.first_token(30), OMNI): 40.0,
        (measure.first_token(30), OMNI_HERE): 20.0,
        (measure.DECODE, EARSHOT): 199.0,
        (measure.throughput(512), EARSHOT): 90.0,
        (measure.throughput(8), OMNI): 3.0,
        (measure.throughput(128), OMNI): 9.0,
    }
    for (row, column), value in found.items():
        figures.put(row, column, Cell(value))
    verdicts = [each.verdict for each in targets(figures)]
    assert verdicts == [
        "met",
        "met",
        "not met",
        "not met",
        "met",
        "met",
        "not met",
        NOT_MEASURED,
    ]


def test_a_figure_stands_beside_its_share_of_the_limit() -> None:
    figures = program.PLAN.figures("as on a GPU")
    figures.put(measure.first_token(30), EARSHOT, Cell(9.0, limit=4.5, detail="p95 10"))
    figures.put(measure.DECODE, EARSHOT, Cell(228.0, limit=304.0))
    table = figures.table()
    assert "9 (p95 10), 50% of limit" in table
    assert "228, 75% of limit" in table
    with pytest.raises(KeyError):
        figures.put("no such row", EARSHOT, Cell(1.0))
