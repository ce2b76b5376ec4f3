"""From records to the rows of a job's table: bounds, ids, columns and keys on the way, then a COPY.

The COPY is a binary one: of a text, the server looks at each byte for its end and for what it escapes, which
takes as long for 8 KB as storing them. (Postgres, "COPY", Binary Format.)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from struct import Struct

import orjson
import psycopg
from psycopg import sql

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.gold_warnings import MOST_KINDS
from cascade_batch.engine.request_keys import SameRows
from cascade_batch.engine.row_bounds import Reader, RowBounds

Raw = psycopg.Connection[tuple[object, ...]]

_COPY_BLOCK_BYTES = 1 << 18
_WAITING_BYTES = 1 << 22
_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"
_FIELDS = 10
_NULL = b"\xff\xff\xff\xff"
"""Stands for a field's size."""
_BIGINT_OID = 20
# Each field has its size before it: job_id, row_no, line_no, and the size of custom_id.
_BEGIN = Struct(">hiiiiiii")
# The size of input, and the version of jsonb that comes before its text.
_INPUT = Struct(">ib")
# input_bytes and stratum.
_END = Struct(">iiii")
_SIZE = Struct(">i")
_JSON_KIND = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@dataclass(slots=True)
class Ingest:
    """What is learnt of the rows while they stream by.

    Attributes:
        rows: How many there were.
        cheapest_nanousd: Sum of their worst cases, each on the tier that is cheapest for it.
        affordable_rows: Rows from the start that the budget covers.
        columns: Input column -> its JSON type over all rows.
        strata: Groups of rows, by number.
        same: Finds rows that ask the same.
        gold: Right answers -> how many rows have it, if they should be one of some choices.
    """

    rows: int = 0
    cheapest_nanousd: int = 0
    affordable_rows: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    strata: dict[bytes, int] = field(default_factory=dict)
    same: SameRows = field(default_factory=SameRows)
    gold: dict[bytes, int] = field(default_factory=dict)


def copy_rows(raw: Raw, job_id: int, rows: Iterable[bytes], *, is_new_table: bool) -> None:
    """Load rows of `packed_rows` into the job's table.

    Args:
        is_new_table: The table was made in this transaction, so that nobody can see its rows before the
            commit: they are frozen at once, and a later vacuum need not write each page once more.
    """
    statement = sql.SQL(
        "COPY {} (job_id, row_no, line_no, custom_id, gold, worst_nanousd, input, input_bytes, stratum,"
        " request_key)"
        " FROM STDIN (FORMAT binary, FREEZE {})"
    ).format(
        sql.Identifier("cascade_store", f"row_{job_id}"),
        sql.Literal(is_new_table),
    )
    _widen(raw)
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        block: list[bytes] = [_COPY_BEGINS]
        size = 0
        for row in rows:
            block.append(row)
            size += len(row)
            if size >= _COPY_BLOCK_BYTES:
                copy.write(b"".join(block))
                block.clear()
                size = 0
        block.append(_COPY_ENDS)
        copy.write(b"".join(block))


def _widen(raw: Raw) -> None:
    """Let as much wait in a connection on this machine as the system allows: what fits by default is stored
    in less time than the next rows are read in, and the server would wait for them. (Over a network, the
    system finds the right amount by itself, unless it is told one.)"""
    with socket.socket(fileno=os.dup(raw.fileno())) as connection:
        if connection.family == socket.AF_UNIX:
            # Some systems refuse to be asked for more than they allow.
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING_BYTES)


def packed_rows(
    spec: JobSpec, job_id: int, read: Reader, ingest: Ingest, bounds: RowBounds
) -> Iterator[bytes]:
    """Read a data set as rows of a COPY. When one is given, `bounds` holds what its row can cost."""
    tiers = len(spec.tiers)
    # An array of one dimension: its size, then that it holds no NULL, what it holds, how many, from where on.
    worst_begin = Struct(">iiiiii").pack(20 + 12 * tiers, 1, 0, _BIGINT_OID, tiers, 1)
    pack_worst = Struct(">" + "iq" * tiers).pack
    cells = [8] * (2 * tiers)
    form: list[object] = []
    notes_gold = spec.output.choices is not None
    for record in read(check=bounds.check):
        worst = bounds.worst_nanousd
        cells[1::2] = worst
        cheapest = min(worst)
        ingest.cheapest_nanousd += cheapest
        if ingest.cheapest_nanousd <= spec.budget_nanousd:
            ingest.affordable_rows = ingest.rows + 1
        # Most records have the columns of the one before, of the same types.
        if (form_now := [*record.fields, *map(type, record.fields.values())]) != form:
            _note_columns(ingest.columns, record.fields)
            form = form_now
        row_no = ingest.rows
        custom_id = (str(row_no) if record.custom_id is None else record.custom_id).encode()
        gold = record.fields.get(spec.gold) if spec.gold else None
        stratum = 0
        if spec.strata is not None:
            group = orjson.dumps(record.fields.get(spec.strata), option=orjson.OPT_SORT_KEYS)
            stratum = ingest.strata.setdefault(group, len(ingest.strata))
        right = None if gold is None else _as_text(gold).encode()
        if notes_gold and right is not None:
            _note_gold(ingest.gold, right)
        key = bounds.request_key
        if spec.cache:
            ingest.same.add(key, right, stratum)
        content = orjson.dumps(record.fields)
        yield b"".join(
            (
                _BEGIN.pack(_FIELDS, 4, job_id, 4, row_no, 4, record.line_no, len(custom_id)),
                custom_id,
                _NULL if right is None else _SIZE.pack(len(right)) + right,
                worst_begin,
                pack_worst(*cells),
                _INPUT.pack(len(content) + 1, 1),
                content,
                _END.pack(4, bounds.body_bytes[0], 4, stratum),
                _SIZE.pack(len(key)) + key if key else _NULL,
            )
        )
        ingest.rows += 1
    for column, kind in ingest.columns.items():
        if kind == "null":
            ingest.columns[column] = "string"


def _note_columns(kinds: dict[str, str], fields: dict[str, object]) -> None:
    for column, value in fields.items():
        kind = _JSON_KIND.get(type(value), "json")
        known = kinds.get(column)
        if known is None or known == "null":
            kinds[column] = kind
        elif kind not in (known, "null"):
            kinds[column] = "json"


def _note_gold(seen: dict[bytes, int], right: bytes) -> None:
    if right in seen or len(seen) < MOST_KINDS:
        seen[right] = seen.get(right, 0) + 1


def _as_text(gold: object) -> str:
    return gold if isinstance(gold, str) else orjson.dumps(gold).decode()
