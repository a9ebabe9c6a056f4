"""What the figures say: work by arithmetic, targets, and ratios between systems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.midashenglm.figures import (
    NOT_MEASURED,
    Figures,
    Target,
    markdown,
    number,
)
from benchmarks.midashenglm.measure import (
    DECODE,
    first_token,
    largest_batches,
    throughput,
)
from benchmarks.midashenglm.sizes import FULL, LONGEST, NEW_TOKENS
from benchmarks.midashenglm.systems import EARSHOT, OMNI, OMNI_HERE
from benchmarks.midashenglm.work import Limits, limits, row_bytes

PUBLISHED_BATCH = 8
"""The largest batch with which the baseline ran in the published measurements."""


def work_lines() -> list[list[str]]:
    """What both models cost at full size, by arithmetic; no GPU is needed."""
    ours, theirs = limits(FULL, LONGEST), limits(FULL, LONGEST, omni=True)

    def line(name: str, value: Callable[[Limits], float]) -> list[str]:
        one, other = value(ours), value(theirs)
        return [name, number(one), number(other), f"{other / one:.2f}"]

    def operations(each: Limits) -> float:
        return each.encoder.operations + each.decoder.prefill(each.prompt)

    short = [
        [
            f"GMAC until the first token, {seconds} s{note}",
            number(operations(few) / 2e9),
            number(operations(many) / 2e9),
            f"{operations(many) / operations(few):.2f}",
        ]
        for seconds in (2, 10)
        for few in [limits(FULL, seconds)]
        for note, many in [
            ("", theirs),
            (", not padded", limits(FULL, seconds, omni=True, padded=False)),
        ]
    ]
    batches = largest_batches(FULL)
    return [
        ["30 s of audio, at 7B", "MiDashengLM", "Omni, padded to 30 s", "Omni : ours"],
        line("tokens of audio", lambda each: each.encoder.tokens),
        line("TFLOP, encoder", lambda each: each.encoder.operations / 1e12),
        line("TFLOP, prefill", lambda each: each.decoder.prefill(each.prompt) / 1e12),
        *short,
        line("GMAC until the first token, 30 s", lambda each: operations(each) / 2e9),
        line(
            "MB of keys and values, prompt and answer",
            lambda each: each.decoder.token_bytes * (each.prompt + NEW_TOKENS) / 1e6,
        ),
        line(
            "MB that a row of our cache takes",
            lambda each: row_bytes(each.decoder, each.prompt + NEW_TOKENS) / 1e6,
        ),
        line(
            "GB of weights",
            lambda each: (each.decoder.bytes + each.encoder.weight_bytes) / 1e9,
        ),
        line("ms to the first token, H200's limit", _first_token_limit),
        line("tokens/s of one answer, H200's limit", lambda each: each.tokens_per_s),
        *(
            line(f"samples/s at batch {batch}, H200's limit", partial(_samples, batch))
            for batch in (1, 8, 64, 128, 512)
        ),
        [
            "largest batch in 80 GB, our decoder, by formula",
            *map(number, batches[:2]),
            f"{batches[1] / batches[0]:.2f}",
        ],
        ["the same in transformers", "", number(batches[2]), ""],
    ]


def _first_token_limit(each: Limits) -> float:
    return 1e3 * each.first_token_s


def _samples(batch: int, each: Limits) -> float:
    return each.samples_per_s(batch, NEW_TOKENS)


def targets(figures: Figures) -> list[Target]:
    """What an H200 should reach, against what was found."""
    ours = partial(figures.value, column=EARSHOT)
    row = first_token(LONGEST)

    def reach(name: str, value: float | None, bound: float, *, below: bool) -> Target:
        if value is None:
            return Target(name, None, "")
        return Target(name, value <= bound if below else value >= bound, number(value))

    def best(column: str) -> float | None:
        found = [
            value
            for each in figures.rows
            if each.unit == "samples/s"
            and (value := figures.value(each.name, column)) is not None
        ]
        return max(found, default=None)

    found = [
        reach("first token after 30 s within 9 ms", ours(row), 9, below=True),
        *(
            reach(
                f"first token within 25 % of: {column}",
                _over(ours(row), figures.value(row, column)),
                0.25,
                below=True,
            )
            for column in (OMNI, OMNI_HERE)
        ),
        reach("200 tokens/s, batch 1", ours(DECODE), 200, below=False),
        reach("80 samples/s, batch 512", ours(throughput(512)), 80, below=False),
    ]
    rivals = [
        (f"{OMNI}, batch {PUBLISHED_BATCH}", OMNI, throughput(PUBLISHED_BATCH)),
        (f"{OMNI}, its best", OMNI, None),
        (f"{OMNI_HERE}, its best", OMNI_HERE, None),
    ]
    for name, column, at in rivals:
        rival = best(column) if at is None else figures.value(at, column)
        found.append(
            reach(
                f"20 times the samples/s of: {name}",
                _over(best(EARSHOT), rival),
                20,
                below=False,
            )
        )
    return found


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def target_lines(found: list[Target]) -> list[list[str]]:
    """Targets as lines of a table."""
    return [
        ["target on an H200", "found", ""],
        *([each.name, each.found or NOT_MEASURED, each.verdict] for each in found),
    ]


def report(tables: list[Figures], full: Figures, device: str) -> str:
    """Everything that the benchmark prints last."""
    return "\n\n".join(
        [
            f"Device: {device}",
            f"### By arithmetic\n\n{markdown(work_lines())}",
            _NOTES,
            *(each.table() for each in tables),
            f"### Targets\n\n{markdown(target_lines(targets(full)))}",
        ]
    )


_NOTES = (
    "Published for 30 s: about 2750 and 7570 GMAC, with an answer whose length is not\n"
    "stated. One decoder serves all systems, with random weights. Omni is the audio\n"
    'path of Qwen2.5-Omni-7B: 25 tokens a second, clips padded to 30 s. "Omni,\n'
    'Earshot\'s decoder" runs it as well as ours; "transformers" is how the published\n'
    "figures were measured. No padding: what transformers does for short clips today."
)
