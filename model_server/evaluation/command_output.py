"""What the commands of `evaluate` share: progress, their figures, and failing."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
import typer


def fail(message: str) -> NoReturn:
    """Say why not, and end with 2."""
    typer.echo(message, err=True)
    raise typer.Exit(2)


def progress() -> Progress:
    """A bar on stderr that goes when the work is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def publish(report: dict[str, Any], to: Path | None, show: Callable[[], None]) -> None:
    """Print the figures as JSON if `to` is "-"; else show them, and write them there."""
    content = json.dumps(report, indent=2, ensure_ascii=False)
    if to is not None and str(to) == "-":
        print(content)
        return
    show()
    if to is not None:
        to.write_text(content, encoding="utf-8")
