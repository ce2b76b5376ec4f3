"""What a query gives: a table for people, CSV or JSON for programs."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from typing import Any, Literal

import orjson
import psycopg

from cascade_batch.cli.frame import say
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.cli.sql_session import quoted
from cascade_batch.errors import UsageError

How = Literal["table", "csv", "json"]

MAX_TABLE_ROWS = 1000
"""A table is drawn when its widest cell is known; who wants more rows wants a file."""
_STREAM_ROWS = 1000
VIEWS = "SELECT schemaname, viewname FROM pg_views WHERE schemaname IN ('cascade', 'results')"
_QUOTED = re.compile(r'"(.*)"')
_NAME = re.compile(r'(?:\b(cascade|results)\.)?"?([\w-]+)"?')
_COLUMNS = (
    "SELECT column_name FROM information_schema.columns"
    " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)
_MOST_NAMED = 30


def print_result(
    connection: psycopg.Connection[tuple[object, ...]], query: str, how: str | None = None
) -> None:
    """Run a query and print what it gives.

    Args:
        how: `table`, `csv` or `json`; None: a table on a terminal, else CSV.

    Raises:
        UsageError: The database refuses it.
    """
    how = how or ("table" if sys.stdout.isatty() else "csv")
    with connection.cursor() as cursor:
        try:
            # Streamed, so that a job of any size goes into a pipe; the size needs a libpq of 17 or later.
            size = _STREAM_ROWS if psycopg.pq.version() >= 170000 else 1
            rows = cursor.stream(query.encode(), size=size)
            first = next(rows, None)
            columns = [column.name for column in cursor.description or ()]
            found = _with_first(first, rows)
            if how == "csv":
                _print_csv(columns, found)
            elif how == "json":
                print_json([dict(zip(columns, row, strict=True)) for row in found])
            else:
                _print_table(columns, found)
        except psycopg.Error as error:
            if error.sqlstate is None and not isinstance(error, psycopg.ProgrammingError):
                raise  # the connection broke: the server said nothing
            raise _refused(error, connection, query) from None


def _with_first(first: Any, rows: Iterable[Any]) -> Iterable[Any]:
    if first is not None:
        yield first
        yield from rows


def _refused(
    error: psycopg.Error, connection: psycopg.Connection[tuple[object, ...]], query: str
) -> UsageError:
    if "no result" in str(error) or "didn't produce" in str(error):
        return UsageError("That is no query: it gives no rows.")
    place = error.diag.statement_position
    where = f" at character {place}" if place else ""
    hint = error.diag.message_hint
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = "Public are the schemas `cascade` and `results`; --owner reads all tables."
    if isinstance(error, psycopg.errors.UndefinedTable):
        hint = _meant(error.diag.message_primary or "", connection) or hint
    if isinstance(error, psycopg.errors.UndefinedColumn):
        hint = hint or _columns(query, connection)
    return UsageError(
        f"The query was refused{where}: {error.diag.message_primary or error}.", hint=hint
    )


def _meant(message: str, connection: psycopg.Connection[tuple[object, ...]]) -> str | None:
    """Which views may be meant by the one that is not there; None where the message names none."""
    named = _QUOTED.search(message)
    if named is None:
        return None
    views = {str(name): str(schema) for schema, name in connection.execute(VIEWS)}
    schema, dot, name = named[1].partition(".")
    if dot and schema not in views.values():
        whole = {f"{schema}.{name}": name for name, schema in views.items()}
        close = [whole[one] for one in get_close_matches(named[1], whole)]
    else:
        close = get_close_matches(name if dot else named[1], views)
    if not close:
        return "Views are listed by `cascade-batch sql`, then \\d; each job has one in the schema results."
    return f"Did you mean {' or '.join(f'{views[one]}.{quoted(one)}' for one in close)}?"


def _columns(query: str, connection: psycopg.Connection[tuple[object, ...]]) -> str | None:
    """The columns of the first view that the query names; None where it names none."""
    views = {(str(schema), str(name)) for schema, name in connection.execute(VIEWS)}
    named = [
        (schema, word[2])
        for word in _NAME.finditer(query)
        for schema in ([word[1]] if word[1] else ["results", "cascade"])
    ]
    view = next((one for one in named if one in views), None)
    if view is None:
        return None
    names = [quoted(str(name)) for (name,) in connection.execute(_COLUMNS, view)]
    more = ", …" if len(names) > _MOST_NAMED else ""
    return f"{view[0]}.{quoted(view[1])} has the columns {', '.join(names[:_MOST_NAMED])}{more}."


def _print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(cell) for cell in row] for row in rows)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    iterator = iter(rows)
    shown = list(islice(iterator, MAX_TABLE_ROWS))
    numbers = "".join("r" if _is_number_column(shown, i) else " " for i in range(len(columns)))
    print_table(columns, [[_text(cell) for cell in row] for row in shown], right=numbers)
    if next(iterator, None) is not None:
        for (
            _
        ) in iterator:  # what was asked for comes to its end, so that the connection is free again
            pass
        say(f"The first {MAX_TABLE_ROWS:,} rows. For all: a LIMIT of your own, or --csv.")


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Decimal):
        return format(cell.normalize(), "f")
    if isinstance(cell, dict | list):
        return orjson.dumps(cell, default=_json_text).decode()
    return str(cell)


def _json_text(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value.normalize(), "f").encode())
    return str(value)


def _is_number_column(rows: Sequence[Sequence[Any]], place: int) -> bool:
    cells = [row[place] for row in rows if row[place] is not None]
    return bool(cells) and all(
        isinstance(cell, int | float | Decimal) and not isinstance(cell, bool) for cell in cells
    )
