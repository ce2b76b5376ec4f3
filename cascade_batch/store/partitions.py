"""A job's own tables: made when it is submitted, dropped when it is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

_LONG_COLUMNS = {"row": ("input",), "answer": ("text", "value")}
"""Columns that may hold kilobytes: what is asked, and what is answered."""
PARTITIONED = ("row", "answer", "verdict", "choice", "decision", "follower")
_LOCK_TIMEOUT = "5s"


def _names(table: str, job_id: int) -> dict[str, sql.Composable]:
    return {
        "parent": sql.Identifier("cascade_store", table),
        "part": sql.Identifier("cascade_store", f"{table}_{job_id}"),
        "job": sql.Literal(job_id),
        "check": sql.Identifier(f"{table}_{job_id}_job"),
        "key": sql.Identifier(f"{table}_{job_id}_pkey"),
    }


def create_loading_table(connection: psycopg.Connection[tuple[object, ...]], job_id: int) -> None:
    """Make the job's row table, without its key: loading first and indexing after is faster, and
    nobody sees the table before `attach_partitions`."""
    names = _names("row", job_id)
    connection.execute(
        sql.SQL(
            "CREATE TABLE {part} (LIKE {parent} INCLUDING DEFAULTS,"
            " CONSTRAINT {check} CHECK (job_id = {job}))"
        ).format(**names)
    )
    _pack_quickly(connection, "row", job_id)


def attach_partitions(connection: psycopg.Connection[tuple[object, ...]], job_id: int) -> None:
    """Index the loaded rows and attach all of the job's tables. ATTACH, unlike CREATE … PARTITION
    OF, takes no lock that running jobs would wait for."""
    connection.execute(
        sql.SQL("ALTER TABLE {part} ADD CONSTRAINT {key} PRIMARY KEY (job_id, row_no)").format(
            **_names("row", job_id)
        )
    )
    for table in PARTITIONED:
        names = _names(table, job_id)
        if table != "row":
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {part} (LIKE {parent} INCLUDING ALL,"
                    " CONSTRAINT {check} CHECK (job_id = {job}))"
                ).format(**names)
            )
            _pack_quickly(connection, table, job_id)
        connection.execute(
            sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {part} FOR VALUES IN ({job})").format(
                **names
            )
        )
        connection.execute(sql.SQL("ALTER TABLE {part} DROP CONSTRAINT {check}").format(**names))


def _pack_quickly(
    connection: psycopg.Connection[tuple[object, ...]], table: str, job_id: int
) -> None:
    """Have long values of a new table packed by LZ4, or, where the server was built without it, not at all.

    Postgres's own way of packing halves a text, and takes 90 us for 8 KB of prose: more than everything else
    that the database does for a row.
    """
    has_lz4 = connection.execute(
        "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    ).fetchone()
    how = "COMPRESSION lz4" if has_lz4 and has_lz4[0] else "STORAGE EXTERNAL"
    for column in _LONG_COLUMNS.get(table, ()):
        connection.execute(
            sql.SQL(f"ALTER TABLE {{part}} ALTER COLUMN {{column}} SET {how}").format(
                column=sql.Identifier(column), **_names(table, job_id)
            )
        )


def drop_partitions(connection: psycopg.Connection[tuple[object, ...]], job_id: int) -> None:
    """Drop the job's tables; harmless if some are gone. The connection must be in autocommit mode:
    DETACH … CONCURRENTLY waits for readers instead of blocking everybody else."""
    with _lock_timeout(connection):
        for table in PARTITIONED:
            names = _names(table, job_id)
            attached = connection.execute(
                "SELECT p.inhdetachpending FROM pg_inherits p WHERE p.inhrelid = to_regclass(%s)",
                [f"cascade_store.{table}_{job_id}"],
            ).fetchone()
            if attached is not None:
                how = "FINALIZE" if attached[0] else "CONCURRENTLY"
                connection.execute(
                    sql.SQL(f"ALTER TABLE {{parent}} DETACH PARTITION {{part}} {how}").format(
                        **names
                    )
                )
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {part} CASCADE").format(**names))


@contextmanager
def _lock_timeout(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
    try:
        yield
    finally:
        connection.execute("RESET lock_timeout")
