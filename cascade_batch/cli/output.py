"""Data on standard output: JSON for programs, tables for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
import orjson

from cascade_batch.cli.frame import printable
from cascade_batch.domain.money import nanousd_to_usd

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

FILE_WIDTH = 100
"""Columns of what is drawn where neither a terminal nor COLUMNS says how many there are."""
_GAP = 2


def usd(nanousd: int) -> Decimal:
    """Dollars of an amount; printed as JSON, a number with all its digits."""
    return nanousd_to_usd(nanousd)


def print_json(value: Any) -> None:
    """Print a value as indented JSON; `Decimal` becomes an exact number."""
    click.echo(orjson.dumps(value, default=_exact, option=orjson.OPT_INDENT_2))


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value.normalize(), "f").encode())
    raise TypeError


def make_console() -> Console:
    """Standard output for people, as wide as the terminal or COLUMNS says; else as suits a file. Colours are
    for terminals only."""
    from rich.console import Console

    # rich reads COLUMNS by itself.
    is_known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = None if is_known else FILE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: str = "",
    dim: Collection[int] = (),
    spare: Sequence[int] = (),
) -> None:
    """Print a table; on a terminal it fits the width, elsewhere no line is ever folded.

    Args:
        columns: Titles.
        rows: Texts, as many per row as there are columns.
        right: A letter per column: `r` for those that stand to the right (numbers).
        dim: Rows, from 0, that a terminal shows dimly.
        spare: Columns, from 0, that a terminal too narrow for all leaves out, the first of them first.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, width=None if is_terminal else 100_000, highlight=False, markup=False
    )
    cells = [[printable(cell) for cell in row] for row in rows]
    left_out = _left_out(columns, cells, spare, console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold", pad_edge=False)
    for place, title in enumerate(columns):
        if place in left_out:
            continue
        is_number = right[place : place + 1] == "r"
        table.add_column(
            title,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="ellipsis" if is_number else "fold",
        )
    for place, row in enumerate(cells):
        style = "dim" if place in dim else None
        kept = (Text(cell) for column, cell in enumerate(row) if column not in left_out)
        table.add_row(*kept, style=style)
    print_drawing(table, console)


def print_drawing(drawing: RenderableType, console: Console) -> None:
    """Print what rich draws, without the blanks that it fills lines with."""
    with console.capture() as captured:
        console.print(drawing)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _left_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[int], width: int
) -> set[int]:
    """Columns to leave out so that the rest fits, as far as it can."""
    from rich.cells import cell_len

    widths = [
        max(cell_len(text) for text in (title, *(row[place] for row in rows))) + _GAP
        for place, title in enumerate(columns)
    ]
    left_out: set[int] = set()
    for place in spare:
        if sum(widths) - _GAP <= width:
            break
        left_out.add(place)
        widths[place] = 0
    return left_out


def latency_text(ms: float | None) -> str:
    """A latency as people read it; `-` where it is not known."""
    if ms is None:
        return "-"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"
