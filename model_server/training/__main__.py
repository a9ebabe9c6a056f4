"""The command line: `python -m model_server.training sounds --data FOLDER --out FOLDER`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer

from model_server.evaluation.recordings import (
    HELD_OUT,
    DataError,
    load,
    read_manifest,
    split,
)
from model_server.training import export as exporting, sounds as training
from model_server.training.blend import blend
from model_server.training.teacher import TeacherError

ENGINE = Path(__file__).parents[1] / "engines" / "embedded"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def main() -> None:
    """Make the weights of the embedded engine."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@app.command()
def sounds(
    data: Annotated[Path, typer.Option(help="folder with MANIFEST.csv")],
    out: Annotated[Path, typer.Option(help="where examples and checkpoints go")],
    teacher: Annotated[
        Path | None, typer.Option(help="yamnet.tflite, to learn from it too")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="sounds.onnx to go on from, of the same width")
    ] = None,
    examples: int = training.Settings.examples,
    epochs: int = training.Settings.epochs,
    width: int = training.Settings.width,
    rate: float = training.Settings.rate,
    seed: int = training.Settings.seed,
    half: Annotated[
        bool, typer.Option("--half", help="bfloat16, for CPUs that multiply in it")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads and example makers")] = 1,
) -> None:
    """Train the sound network; started again with the same settings, it goes on."""
    torch.set_num_threads(threads)
    settings = training.Settings(
        examples=examples, epochs=epochs, width=width, rate=rate, seed=seed, half=half
    )
    try:
        training.train(
            data, out, settings, teacher=teacher, start=start, processes=threads
        )
    except (DataError, TeacherError, ValueError, OSError) as err:
        raise typer.BadParameter(str(err)) from err


@app.command()
def export(
    data: Annotated[Path, typer.Option(help="folder with MANIFEST.csv")],
    out: Annotated[Path, typer.Option(help="where the checkpoint is")],
    to: Annotated[Path, typer.Option(help="where weights and model card go")] = ENGINE,
    earlier: Annotated[
        Path | None, typer.Option(help="weights that it went on from, to blend in")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="of the new weights in a blend")
    ] = 0.5,
) -> None:
    """Write the averaged weights of the last checkpoint, finished or not, and their card."""
    try:
        recordings = read_manifest(data)
        _, unseen = split(recordings)
        net, state = training.averaged(out)
        held_out = [load(one) for one in unseen if one.subset == HELD_OUT]
        exporting.export(net, to)
        if earlier is not None:
            settings = training.Settings(**state["settings"])
            examples = training.prepared(out, settings, state["taught"])
            net = blend(to / exporting.WEIGHTS, earlier, share, examples)
    except (DataError, OSError, ValueError) as err:
        raise typer.BadParameter(str(err)) from err
    figures = exporting.Figures(
        accuracy=training.accuracy(net, held_out),
        epochs=state["epoch"],
        examples=state["settings"]["examples"],
        teacher=state["taught"],
        continued=state["continued"],
        share=1.0 if earlier is None else share,
    )
    exporting.write_card(to, recordings, figures, exporting.digest(to))
    logging.getLogger(__name__).info("%s: held-out accuracy %.3f", to, figures.accuracy)


if __name__ == "__main__":
    app()
