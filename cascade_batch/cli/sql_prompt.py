"""A small SQL prompt, for where there is no psql."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from cascade_batch.cli.frame import say
from cascade_batch.cli.sql_output import print_result
from cascade_batch.errors import UsageError

_HELP = """\
\\q        leave (so does Ctrl-D)
\\d        list the views; \\d NAME shows a view's columns
SELECT …; ask; a query may go over several lines and ends with a semicolon"""
_VIEWS = """
SELECT table_schema AS schema, table_name AS view FROM information_schema.views
 WHERE table_schema IN ('cascade', 'results') ORDER BY 1, 2
"""
_COLUMNS = """
SELECT column_name AS column, data_type AS type FROM information_schema.columns
 WHERE table_schema IN ('cascade', 'results') AND table_name = '{}'
 ORDER BY table_schema = 'cascade', ordinal_position
"""
_HISTORY_LINES = 1000


def run_prompt(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Read queries and show what they give, until the user leaves. It remembers them between sessions."""
    say("\\q leaves, \\? helps; a query ends with a semicolon.")
    with _history():
        for query in _queries():
            try:
                print_result(connection, query, "table")
            except UsageError as error:
                say(f"{error.message}\n{error.hint}" if error.hint else error.message)
            except KeyboardInterrupt:
                say("The query was stopped.")


def _queries() -> Iterator[str]:
    """What is typed, a query at a time."""
    lines: list[str] = []
    while True:
        try:
            line = input("...> " if lines else "sql> ")
        except KeyboardInterrupt:
            say("")
            lines = []
            continue
        except EOFError:
            say("")
            return
        word, _, rest = line.strip().partition(" ")
        if not lines and word.startswith("\\"):
            if word == "\\q":
                return
            if word.startswith("\\d"):
                name = rest.strip().removesuffix(";").split(".")[-1].strip('"').replace("'", "''")
                yield _COLUMNS.format(name) if name else _VIEWS
            else:
                say(_HELP)
            continue
        if lines or line.strip():
            lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines).rstrip().removesuffix(";")
            lines = []


@contextlib.contextmanager
def _history() -> Iterator[None]:
    try:
        readline = importlib.import_module("readline")
    except ImportError:  # not everywhere; without it there is no history, and that is all
        yield
        return
    from platformdirs import user_state_path

    path = Path(user_state_path("cascade-batch")) / "sql_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)
