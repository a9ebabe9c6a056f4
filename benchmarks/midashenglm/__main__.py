"""Measure MiDashengLM's speed beside the baseline that it was published with.

On a GPU, at full size with random weights, in at most ten minutes:

    python -m benchmarks.midashenglm --json midashenglm.json

Without one it prints the work of both models by arithmetic, and measures small models
of the same layout on the CPU; what only a GPU can tell stays "not measured".
`--tiny` measures only small models, `--quick` a few figures of each kind. The table
comes last, also after an interruption: then with what was measured until then.
"""

from __future__ import annotations

import json
from pathlib import Path
import signal
import time
from typing import Annotated

import torch
import transformers
import typer

from benchmarks.midashenglm.measure import MEMORY, Clock, Measuring, Plan
from benchmarks.midashenglm.report import report, targets, work_lines
from benchmarks.midashenglm.sizes import FULL, NEW_TOKENS, SMALL

PLAN = Plan((2, 10, 30), (1, 8, 64, 128, 512), NEW_TOKENS, 40, largest=True)
QUICK = Plan((2, 10, 30), (1, 8, 64, 128, 512), NEW_TOKENS, 10)
SMALL_PLAN = Plan((2, 10, 30), (1, 8, 32), 20, 5)
SMALL_QUICK = Plan((2, 10, 30), (1, 4), 4, 2)


def main(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures here.")
    ] = None,
    tiny: Annotated[bool, typer.Option(help="Measure only small models.")] = False,
    quick: Annotated[bool, typer.Option(help="Measure less often.")] = False,
    minutes: Annotated[float, typer.Option(help="Begin nothing after these.")] = 8.5,
) -> None:
    """Print what was measured; the table comes last."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    clock = Clock(time.monotonic() + 60 * minutes)
    plan = QUICK if quick else PLAN
    small_plan = SMALL_QUICK if quick else SMALL_PLAN
    full = plan.figures("At 7B, on a GPU")
    where = "on the GPU" if gpu else "in one CPU core's time"
    small = small_plan.figures(f"Small models, {where}: only ratios mean something")
    at_full_size = gpu and not tiny
    tables = [full] if at_full_size else [full, small]
    name = torch.cuda.get_device_name() if gpu else "CPU, no GPU"
    name += f"; torch {torch.__version__}, transformers {transformers.__version__}"

    def save() -> None:
        if json_file is not None:
            data = {
                "device": name,
                "work": work_lines(),
                "tables": [each.data() for each in tables],
                "targets": [
                    {"target": each.name, "found": each.found, "verdict": each.verdict}
                    for each in targets(full)
                ],
            }
            json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def changed() -> None:
        print(".", end="", flush=True)
        save()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if at_full_size:
            _keep_to_80_gb()
            Measuring(FULL, device, plan, clock, full, changed).everything()
        else:
            torch.set_num_threads(1)  # more only wait for each other at such sizes
            Measuring(SMALL, device, small_plan, clock, small, changed).everything()
    except KeyboardInterrupt:
        print("\nInterrupted: this is what was measured.")
        raise typer.Exit(130) from None
    finally:
        save()
        print(f"\n\n{report(tables, full, name)}")
    if any(each.failed for each in tables):
        raise typer.Exit(1)


def _keep_to_80_gb() -> None:
    """Let this process use no more memory than the GPU of the published figures had."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY / total))


if __name__ == "__main__":
    typer.run(main)
