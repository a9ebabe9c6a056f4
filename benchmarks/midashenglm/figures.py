"""Figures by what was measured and on which system, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

NOT_MEASURED = "not measured"
NO_TIME = "no time left"
NO_MEMORY = "does not fit"
NO_FIGURE = "–"
TOO_NOISY = "too noisy"
FAILED = "failed"


@dataclass(frozen=True)
class Cell:
    """One figure, or why there is none; `limit` is what no H200 can pass."""

    value: float | None = None
    reason: str = ""
    limit: float | None = None
    detail: str = ""

    def fraction(self, better: Literal["lower", "higher"]) -> float | None:
        """How much of the limit is reached, 0 to 1."""
        if self.value is None or self.limit is None:
            return None
        return self.limit / self.value if better == "lower" else self.value / self.limit


@dataclass(frozen=True)
class Row:
    """A kind of figure: its unit, and whether less or more of it is better."""

    name: str
    unit: str
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class Target:
    """What our system should reach, and whether it does."""

    name: str
    met: bool | None
    found: str

    @property
    def verdict(self) -> str:
        """The target's state in words."""
        return {True: "met", False: "not met", None: NOT_MEASURED}[self.met]


@dataclass
class Figures:
    """All cells of one table, filled while the benchmark runs."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def put(self, row: str, column: str, cell: Cell) -> None:
        """Fill one cell in; raises KeyError for one that the table lacks."""
        if column not in self.columns or row not in {each.name for each in self.rows}:
            raise KeyError((row, column))
        self.cells[row, column] = cell

    @property
    def failed(self) -> bool:
        """Whether some measurement ended with an error."""
        return any(cell.reason == FAILED for cell in self.cells.values())

    def value(self, row: str, column: str) -> float | None:
        """A figure, where there is one."""
        return self.cells.get((row, column), Cell()).value

    def table(self) -> str:
        """Everything as a table in Markdown; a cell without a figure says why."""
        lines = [["", *self.columns]]
        for row in self.rows:
            line = [f"{row.name} ({row.unit})"]
            for column in self.columns:
                cell = self.cells.get((row.name, column), Cell(reason=NOT_MEASURED))
                line.append(_text(cell, row))
            lines.append(line)
        return f"### {self.title}\n\n{markdown(lines)}"

    def data(self) -> dict[str, Any]:
        """The same for a program to read."""
        return {
            "title": self.title,
            "figures": [
                {
                    "row": row.name,
                    "unit": row.unit,
                    "system": column,
                    **asdict(cell),
                    "fraction_of_limit": cell.fraction(row.better),
                }
                for row in self.rows
                for column in self.columns
                for cell in [
                    self.cells.get((row.name, column), Cell(reason=NOT_MEASURED))
                ]
            ],
        }


def _text(cell: Cell, row: Row) -> str:
    if cell.value is None:
        return cell.reason
    text = number(cell.value)
    if cell.detail:
        text += f" ({cell.detail})"
    fraction = cell.fraction(row.better)
    return text if fraction is None else f"{text}, {fraction:.0%} of limit"


def number(value: float) -> str:
    """A figure with three digits that mean something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head, with columns lined up."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| "
        + " | ".join(
            text.ljust(width) for text, width in zip(line, widths, strict=True)
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )
