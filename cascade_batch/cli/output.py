"""Data on standard output: JSON for programs, tables for people."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import click
import orjson

from cascade_batch.cli.frame import printable
from cascade_batch.domain.money import nanousd_to_usd


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


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: str = "",
    dim: Collection[int] = (),
) -> None:
    """Print a table; on a terminal it fits the width, elsewhere no line is ever folded.

    Args:
        columns: Titles.
        rows: Texts, as many per row as there are columns.
        right: A letter per column: `r` for those that stand to the right (numbers).
        dim: Rows, from 0, that a terminal shows dimly.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for place, title in enumerate(columns):
        is_number = right[place : place + 1] == "r"
        table.add_column(title, justify="right" if is_number else "left", no_wrap=is_number)
    for place, row in enumerate(rows):
        style = "dim" if place in dim else None
        table.add_row(*(Text(printable(cell)) for cell in row), style=style)
    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, width=None if is_terminal else 100_000, highlight=False, markup=False
    )
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def latency_text(ms: float | None) -> str:
    """A latency as people read it; `-` where it is not known."""
    if ms is None:
        return "-"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"
