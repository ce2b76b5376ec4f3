"""A job's own tables: made when it is submitted, dropped when it is deleted.

All jobs share the tables that theirs are parts of, so that no lock on those may hold up anybody else: parts
are attached and detached in the ways that let others read and write meanwhile. Detaching waits, in return,
for all who have used the shared table in a transaction that is still open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from cascade_batch.errors import CascadeError

_LONG_COLUMNS = {"row": ("input",), "answer": ("text", "value")}
"""Columns that may hold kilobytes: what is asked, and what is answered."""
_UNVACUUMED = """
autovacuum_vacuum_insert_threshold = -1, toast.autovacuum_vacuum_insert_threshold = -1
"""
"""Rows never change, and are frozen as they are loaded. A vacuum for the mere sake of new rows would read
them all, and write the pages of long ones once more, while the job is at work."""
PARTITIONED = ("row", "answer", "verdict", "choice", "decision", "follower")
LOCK_TIMEOUT_S = 60.0
"""How long a deletion waits for others. Nobody has to wait for it meanwhile."""
_DELETIONS = 0x6361736364656C74
"""Advisory lock of a session that drops tables: only one part of a table can be on its way out at a time."""
# Read in the catalogue, not by LIKE: that would lock the shared table for as long as rows are loaded, and no
# job could be deleted before.
_COLUMNS = """
SELECT string_agg(format('%%I %%s%%s', attname, format_type(atttypid, atttypmod),
                         CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY attnum)
  FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_PENDING = """
SELECT c.relname FROM pg_inherits p JOIN pg_class c ON c.oid = p.inhrelid
 WHERE p.inhparent = to_regclass(%s) AND p.inhdetachpending
"""
_ATTACHED = "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%s)"


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
    found = connection.execute(_COLUMNS, ["cascade_store.row"]).fetchone()
    if found is None or not isinstance(found[0], str):
        raise TypeError("the database has no table for rows")
    connection.execute(
        sql.SQL(
            "CREATE TABLE {part} ({columns}, CONSTRAINT {check} CHECK (job_id = {job})) WITH ({unvacuumed})"
        ).format(
            columns=sql.SQL(found[0]), unvacuumed=sql.SQL(_UNVACUUMED), **_names("row", job_id)
        )
    )
    # Nobody looks for rows by what is in them, and to find out what that is, long ones are read whole.
    connection.execute(
        sql.SQL("ALTER TABLE {part} ALTER COLUMN input SET STATISTICS 0").format(
            **_names("row", job_id)
        )
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

    Postgres's own way of packing halves a text, and takes 90 us for 8 KB of prose: nearly as long as all else
    that the database does for such a row.
    """
    columns = _LONG_COLUMNS.get(table)
    if columns is None:
        return
    has_lz4 = connection.execute(
        "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    ).fetchone()
    how = "COMPRESSION lz4" if has_lz4 and has_lz4[0] else "STORAGE EXTERNAL"
    for column in columns:
        connection.execute(
            sql.SQL(f"ALTER TABLE {{part}} ALTER COLUMN {{column}} SET {how}").format(
                column=sql.Identifier(column), **_names(table, job_id)
            )
        )


def drop_partitions(connection: psycopg.Connection[tuple[object, ...]], job_id: int) -> None:
    """Drop the job's tables; harmless if some are gone. The connection must be in autocommit mode:
    DETACH … CONCURRENTLY waits for readers instead of blocking everybody else.

    Raises:
        CascadeError: Somebody has been reading the shared tables for too long. What is dropped by then
            stays so, and another call goes on.
    """
    with patience(connection):
        connection.execute("SELECT pg_advisory_lock(%s)", [_DELETIONS])
        try:
            for table in PARTITIONED:
                _drop(connection, table, job_id)
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_DELETIONS])


def _drop(connection: psycopg.Connection[tuple[object, ...]], table: str, job_id: int) -> None:
    names = _names(table, job_id)
    # A deletion that was broken off left a part half detached, maybe another job's: no other part can be
    # detached before that one is.
    pending = connection.execute(_PENDING, [f"cascade_store.{table}"]).fetchall()
    for (part,) in pending:
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
                names["parent"], sql.Identifier("cascade_store", str(part))
            )
        )
    if connection.execute(_ATTACHED, [f"cascade_store.{table}_{job_id}"]).fetchone() is not None:
        connection.execute(
            sql.SQL("ALTER TABLE {parent} DETACH PARTITION {part} CONCURRENTLY").format(**names)
        )
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {part} CASCADE").format(**names))


@contextmanager
def patience(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Wait for others for so long, and no longer.

    Raises:
        CascadeError: It took longer.
    """
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise CascadeError(
            f"Others have been using the tables for more than {LOCK_TIMEOUT_S:.0f} s, so that none can be"
            " dropped: a submission, an export, another deletion, or a session that somebody left open.",
            hint="Say it again once they are through: it goes on from where it stopped.",
        ) from None
    finally:
        connection.execute("RESET lock_timeout")
