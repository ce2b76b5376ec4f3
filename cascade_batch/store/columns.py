"""Many rows of few fixed-width columns, as numpy arrays.

A binary COPY of columns that are never null has tuples of one size, so that what goes to the server or comes
from it is one structured array, without a Python object per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_HEADER_BYTES = 19
_BLOCK_ROWS = 1 << 14
_BLOCK_BYTES = 1 << 20
_TYPES = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float4": ">f4", "float8": ">f8"}


def stream_columns(
    connection: psycopg.Connection[tuple[object, ...]],
    query: str,
    columns: Sequence[tuple[str, str]],
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Run `query` and return its columns as arrays in native byte order, some ten thousand rows at a time;
    nothing, if it has no rows.

    Args:
        query: A SELECT whose columns are `columns`, in order, none of them ever null.
        columns: Name and Postgres type (int2, int4, int8, float4 or float8) of each column.

    Raises:
        ValueError: Something is null, or of another type.
    """
    dtype = _tuple_type(columns)
    # Added to piece by piece: there is one per row, and a list of them takes longer than all the rest.
    data = bytearray()
    start = _HEADER_BYTES
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy,
    ):
        for piece in copy:
            data += piece
            if len(data) >= start + max(_BLOCK_BYTES, dtype.itemsize):
                count = (len(data) - start) // dtype.itemsize
                yield _columns(np.frombuffer(data, dtype, count, start), columns)
                data = data[start + count * dtype.itemsize :]
                start = 0
    count, rest = divmod(len(data) - start - len(_TRAILER), dtype.itemsize)
    if rest or data[len(data) - len(_TRAILER) :] != _TRAILER:
        raise ValueError(
            "a column that was to be read in blocks holds a null, or is of another type"
        )
    if count:
        yield _columns(np.frombuffer(data, dtype, count, start), columns)


def read_columns(
    connection: psycopg.Connection[tuple[object, ...]],
    query: str,
    columns: Sequence[tuple[str, str]],
) -> dict[str, NDArray[np.generic]]:
    """Run `query` and return its columns as arrays; see `stream_columns`."""
    none = _columns(np.empty(0, dtype=_tuple_type(columns)), columns)
    pieces = {name: [column] for name, column in none.items()}
    for block in stream_columns(connection, query, columns):
        for name, column in block.items():
            pieces[name].append(column)
    # One column's pieces go before the next one is made whole.
    return {name: np.concatenate(pieces.pop(name)) for name, _ in columns}


def write_columns(
    connection: psycopg.Connection[tuple[object, ...]],
    table: sql.Composable,
    columns: Sequence[tuple[str, str]],
    values: Sequence[NDArray[Any]],
) -> None:
    """Append rows to a table.

    Args:
        table: Its quoted name.
        columns: Name and Postgres type of each column that is given, as in `read_columns`.
        values: An array per column, all of one length.
    """
    # Made a block at a time, always in the same place: all at once would take more than the values.
    block = np.empty(_BLOCK_ROWS, dtype=_tuple_type(columns))
    block["_fields"] = len(columns)
    for name, kind in columns:
        block[f"_{name}"] = np.dtype(_TYPES[kind]).itemsize
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        table, sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_SIGNATURE)
        for start in range(0, len(values[0]), _BLOCK_ROWS):
            rows = block[: len(values[0]) - start]
            for (name, _), array in zip(columns, values, strict=True):
                rows[name] = array[start : start + _BLOCK_ROWS]
            copy.write(rows.tobytes())
        copy.write(_TRAILER)


def _columns(
    tuples: NDArray[Any], columns: Sequence[tuple[str, str]]
) -> dict[str, NDArray[np.generic]]:
    return {
        name: tuples[name].astype(np.dtype(_TYPES[kind]).newbyteorder("="))
        for name, kind in columns
    }


def _tuple_type(columns: Sequence[tuple[str, str]]) -> np.dtype[Any]:
    """A tuple of a binary COPY: how many fields, then each field's length and itself."""
    fields = [("_fields", ">i2")]
    for name, kind in columns:
        fields += [(f"_{name}", ">i4"), (name, _TYPES[kind])]
    return np.dtype(fields)
