"""`cascade-batch sql`: ask the database."""

from __future__ import annotations

import csv
import sys
from decimal import Decimal
from typing import Any

import click

from cascade_batch.cli.frame import Command
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.client.services import running_settings, services
from cascade_batch.errors import UsageError


@click.command(cls=Command)
@click.argument("query", required=False)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option(
    "--url", is_flag=True, help="Print the database's URL, password included, for other programs."
)
def sql(query: str | None, as_json: bool, as_csv: bool, url: bool) -> None:
    """Run a query that only reads, and print what it gives.

    The public views are in the schema `cascade` (jobs, rows, answers, calls_by_tier, ledger,
    results), and every job has a view results."JOB". QUERY may be `-` for standard input.
    """
    if url:
        from cascade_batch.store.engine import libpq_url

        click.echo(libpq_url(running_settings().database_url or ""))
        return
    if query is None:
        raise UsageError(
            "No query is given.",
            hint="For example: cascade-batch sql 'SELECT * FROM cascade.jobs'. For a session:"
            ' psql "$(cascade-batch sql --url)"',
        )
    columns, rows = _run(sys.stdin.read() if query == "-" else query)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_text(cell) for cell in row] for row in rows)
    else:
        numbers = "".join("r" if _is_number_column(rows, i) else " " for i in range(len(columns)))
        print_table(columns, [[_text(cell) for cell in row] for row in rows], right=numbers)


def _run(query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    import psycopg

    from cascade_batch.store.engine import libpq_url

    with services() as service:
        url = libpq_url(service.settings.database_url or "")
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.read_only = True
            try:
                cursor = connection.execute(query.encode())
                if cursor.description is None:
                    return [], []
                return [c.name for c in cursor.description], cursor.fetchall()
            except psycopg.Error as error:
                if error.sqlstate is None:  # the connection broke: the server said nothing
                    raise
                place = error.diag.statement_position
                where = f" at character {place}" if place else ""
                raise UsageError(
                    f"The query was refused{where}: {error.diag.message_primary or error}.",
                    hint=error.diag.message_hint,
                ) from None


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return format(cell.normalize(), "f")
    if isinstance(cell, dict | list):
        import orjson

        return orjson.dumps(cell, default=str).decode()
    return str(cell)


def _is_number_column(rows: list[tuple[Any, ...]], place: int) -> bool:
    cells = [row[place] for row in rows if row[place] is not None]
    return bool(cells) and all(isinstance(cell, int | float | Decimal) for cell in cells)
