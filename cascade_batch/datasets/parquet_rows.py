"""Parquet: rows written as JSON and read back, so that they keep to what JSON Lines keep to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import orjson

from cascade_batch.datasets.records import (
    MAX_ROW_BYTES,
    BadRecordError,
    Report,
    object_of,
    shown,
    too_long,
)
from cascade_batch.datasets.sources import check_file, unreadable
from cascade_batch.errors import DataError

_BATCH_BYTES = 4 * 2**20
_BATCH_ROWS = 4096
_NO_PYTHON_FORM = (ValueError, ArithmeticError, LookupError)
"""What a value raises that is a text and not UTF-8, a time in the year 20000, or in a time zone that there
is not."""


def parquet_rows(source: str, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and fields of every usable record.

    Raises:
        DataError: The file can't be read, two columns share a name, or one holds bytes.
    """
    check_file(source)
    for record_no, values in enumerate(chain.from_iterable(map(rows_of, _batches(source))), 1):
        try:
            fields = json_object(values)
        except BadRecordError as bad:
            report(bad.at(source, record_no))
        else:
            yield record_no, fields


def _batches(source: str) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # An open file, as a path might be taken for an address; no pre_buffer, as that would read
        # whole row groups ahead.
        with (
            pa.OSFile(source, "rb") as raw,
            parquet.ParquetFile(raw, pre_buffer=False, buffer_size=2**20) as file,
        ):
            check_schema(file.schema_arrow, source)
            meta = file.metadata
            total_bytes = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            row_bytes = max(1, total_bytes // max(1, meta.num_rows))
            batch_rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES // row_bytes))
            yield from file.iter_batches(batch_size=batch_rows, use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(source, error) from None


def check_schema(schema: Any, source: str) -> None:
    """Refuse columns that no record can be made of.

    Raises:
        DataError: Two columns share a name, or one holds bytes.
    """
    for name, times in Counter(schema.names).items():
        if times > 1:
            raise DataError(
                f"{times} columns are called {shown(name)}",
                source=source,
                hint="Give every column a name of its own.",
            )
    for column in schema:
        if _holds_bytes(column.type):
            raise DataError(
                f"column {shown(column.name)} holds bytes, which are no JSON value",
                source=source,
                hint="Drop the column, or write it as text (base64, say).",
            )


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    ):
        return True
    return any(_holds_bytes(kind.field(place).type) for place in range(kind.num_fields))


def rows_of(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """Rows of a record batch as Python values; the error in place of a row that has none."""
    try:
        yield from batch.to_pylist()
        return
    except _NO_PYTHON_FORM:
        pass
    # Some value has no Python form: find out whose it is.
    for place in range(batch.num_rows):
        try:
            yield batch.slice(place, 1).to_pylist()[0]
        except _NO_PYTHON_FORM as error:
            yield error


def json_object(values: dict[str, Any] | Exception) -> dict[str, Any]:
    """A record as JSON Lines would have brought it.

    Args:
        values: As `rows_of` gives them; numpy's scalars and arrays may be among them.

    Raises:
        BadRecordError: A value has no JSON form, or the record is too long or too deep.
    """
    if isinstance(values, LookupError):
        raise BadRecordError(f"a value is of a time zone that is not known: {values}")
    if isinstance(values, Exception):
        raise BadRecordError(f"a value has no JSON form: {values}")
    try:
        text = orjson.dumps(values, default=_json_value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise BadRecordError(f"a value has no JSON form: {error}") from None
    if len(text) > MAX_ROW_BYTES:
        raise too_long()
    return object_of(text)


def _json_value(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value == value else None  # noqa: PLR0124  # pandas' NaT differs
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        return _of_numpy(value)
    raise TypeError(f"{type(value).__name__} {value!r}")


def _of_numpy(value: Any) -> object:
    """What orjson does not know of numpy and pandas: arrays of objects, durations, what stands for none."""
    if type(value).__name__ == "NAType":
        return None
    if type(value).__name__ in ("ndarray", "timedelta64"):
        plain: object = value.tolist()
        if not isinstance(plain, int):  # a duration in units that Python has not, or none at all
            return plain
    raise TypeError(f"{type(value).__name__} {value!r}")
