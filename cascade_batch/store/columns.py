"""Many rows of few fixed-width columns, as a numpy array.

A binary COPY of columns that are never null has tuples of one size, so that the whole answer of the
server is read as one structured array without a Python object per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psycopg
from numpy.typing import NDArray

_HEADER_BYTES = 19
_TRAILER_BYTES = 2
_TYPES = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float4": ">f4", "float8": ">f8"}


def read_columns(
    connection: psycopg.Connection[tuple[object, ...]],
    query: str,
    columns: Sequence[tuple[str, str]],
) -> dict[str, NDArray[np.generic]]:
    """Run `query` and return its columns as arrays in native byte order.

    Args:
        query: A SELECT whose columns are `columns`, in order, none of them ever null.
        columns: Name and Postgres type (int2, int4, int8, float4 or float8) of each column.
    """
    fields: list[tuple[str, str]] = [("", ">i2")]
    for name, kind in columns:
        fields += [(f"_{name}", ">i4"), (name, _TYPES[kind])]
    fields[0] = ("_fields", ">i2")
    dtype = np.dtype(fields)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy,
    ):
        data = b"".join(copy)
    table = np.frombuffer(data[_HEADER_BYTES : len(data) - _TRAILER_BYTES], dtype=dtype)
    return {
        name: np.ascontiguousarray(table[name]).astype(np.dtype(_TYPES[kind]).newbyteorder("="))
        for name, kind in columns
    }
