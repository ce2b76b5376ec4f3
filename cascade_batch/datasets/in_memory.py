"""Data sets that a program holds: pandas DataFrames, Arrow tables, dicts one after the other.

Records are made of them as of a Parquet file, so that a value means the same wherever it comes from, and
without a copy of the whole: a slice of rows is turned at a time.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cascade_batch.datasets.parquet_rows import check_schema, json_object, rows_of
from cascade_batch.datasets.reading import Origin, records_of
from cascade_batch.datasets.records import BadRecordError, Report, shown
from cascade_batch.domain.row import Record
from cascade_batch.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

_SLICE_ROWS = 4096
_KINDS = "a pandas DataFrame, an Arrow table or an iterable of dicts"


class InMemory:
    """A data set that a program holds.

    Attributes:
        name: What messages call it: `DataFrame`, `table` or `rows`.
        index: The DataFrame's index; None where there is none.
    """

    def __init__(self, data: Any) -> None:
        """Look at the data's form; its rows are not read yet.

        Args:
            data: A pandas DataFrame; whatever speaks Arrow's C stream (a pyarrow Table, a polars DataFrame);
                or an iterable of dicts, which may be a generator, as it is read once.

        Raises:
            UsageError: It is none of these.
            DataError: It is empty, or its columns can't be told apart by name.
        """
        self.index: pd.Index[Any] | None = None
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(data, pandas.DataFrame):
            _check_frame(data)
            self.name = "DataFrame"
            self.index = data.index
            self._rows: Callable[[], Iterator[dict[str, Any] | Exception]] = lambda: _of_frame(data)
        elif pandas is not None and isinstance(data, pandas.Series):
            raise UsageError(
                "A Series is one column, not a data set.",
                hint="Give data.to_frame('text') instead.",
            )
        elif hasattr(data, "__arrow_c_stream__"):
            self.name = "table"
            self._rows = lambda: _of_arrow(data, self.name)
        elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
            self.name = "rows"
            self._rows = lambda: _of_dicts(data)
        else:
            one = " Put a single dict into a list." if isinstance(data, Mapping) else ""
            raise UsageError(
                f"A value of type {type(data).__name__} is no data set.",
                hint=f"Give the path of a file, {_KINDS}.{one}",
            )

    def read(
        self,
        *,
        limit: int | None = None,
        on_bad: Callable[[DataError], None] | None = None,
        check: Callable[[Record], None] | None = None,
    ) -> Iterator[Record]:
        """Stream the records, as `read_records` does for a file; the arguments mean the same.

        A record's `line_no` is its place, from 1. Errors name a DataFrame's row by its index label, others
        by their place from 0, as Python does.

        Raises:
            DataError: A record can't be used and there is no `on_bad`, or none can be; upon iteration.
        """
        origin = Origin(
            name=self.name,
            rows=self._fields,
            called=self._called,
            where=self.where,
        )
        return records_of(origin, limit=limit, on_bad=on_bad, check=check)

    def _called(self, number: int) -> str:
        if self.index is None:
            return f"{self.name}[{number - 1}]"
        label = self.index[number - 1]
        plain = tuple(map(_plain, label)) if isinstance(label, tuple) else _plain(label)
        return f"index {reprlib.repr(plain)}"

    def where(self, number: int) -> str:
        """What an error about the record of this number (from 1) begins with."""
        called = self._called(number)
        return called if self.index is None else f"{self.name}, {called}"

    def _fields(self, report: Report) -> Generator[tuple[int, dict[str, Any]], None, None]:
        for number, values in enumerate(self._rows(), 1):
            try:
                if isinstance(values, _NotADictError):
                    raise BadRecordError(str(values))
                fields = json_object(values)
            except BadRecordError as bad:
                blamed = bad if isinstance(values, Exception) else _blamed(values, bad)
                report(blamed.at(self.name, number, self.where(number)))
            else:
                yield number, fields


def _plain(label: Any) -> object:
    """A label as it is written in Python: 7, not np.int64(7)."""
    return label.item() if hasattr(label, "item") else label


def _check_frame(frame: pd.DataFrame) -> None:
    columns = [*_named_levels(frame), *frame.columns]
    for column in columns:
        if not isinstance(column, str):
            raise DataError(
                f"the name of column {column!r} is no text but of type {type(column).__name__}",
                source="DataFrame",
                hint="Rename it: df.columns = df.columns.map(str), or with names that say more.",
            )
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise DataError(
            f"{columns.count(twice)} columns are called {shown(twice)} (named index levels count)",
            source="DataFrame",
            hint="Give every column a name of its own.",
        )
    if not columns:
        raise DataError("it has no columns", source="DataFrame")
    if not len(frame):
        raise DataError("it holds no row", source="DataFrame", hint="A job needs at least one row.")


def _named_levels(frame: pd.DataFrame) -> list[Any]:
    """Index levels that have a name: those are columns, too, as in a Parquet file."""
    return [name for name in frame.index.names if name is not None]


def _of_frame(frame: pd.DataFrame) -> Iterator[dict[str, Any] | Exception]:
    levels = _named_levels(frame)
    names = [*levels, *frame.columns]
    for start in range(0, len(frame), _SLICE_ROWS):
        part = frame.iloc[start : start + _SLICE_ROWS]
        columns = [
            *(_values(part.index.get_level_values(name)) for name in levels),
            *(_values(part.iloc[:, place]) for place in range(part.shape[1])),
        ]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _values(column: pd.Series[Any] | pd.Index[Any]) -> list[Any]:
    """A column's values as a Parquet file would give them back; objects as they are."""
    import pyarrow as pa

    if column.dtype == object:
        return column.tolist()
    try:
        array = pa.Array.from_pandas(column)
        if not isinstance(array.type, pa.BaseExtensionType):
            values: list[Any] = array.to_pylist()
            return values
    except (pa.ArrowException, ValueError, ArithmeticError, LookupError):
        pass  # a kind of values, or a value, that Arrow has no form for
    return column.astype(object).tolist()


def _of_arrow(data: Any, name: str) -> Iterator[dict[str, Any] | Exception]:
    import pyarrow as pa

    with pa.RecordBatchReader.from_stream(data) as reader:
        check_schema(reader.schema, name)
        for batch in reader:
            for start in range(0, batch.num_rows, _SLICE_ROWS):
                yield from rows_of(batch.slice(start, _SLICE_ROWS))


def _of_dicts(data: Iterable[Any]) -> Iterator[dict[str, Any] | Exception]:
    for item in data:
        yield dict(item) if isinstance(item, Mapping) else _NotADictError(item)


class _NotADictError(ValueError):
    """An item that is no record."""

    def __init__(self, item: object) -> None:
        super().__init__(f"a record is a dict, not {reprlib.repr(item)}")


def _blamed(values: dict[str, Any], bad: BadRecordError) -> BadRecordError:
    """The error with the column that it is about, where it is about a single one."""
    for name, value in values.items():
        try:
            json_object({str(name): value})
        except BadRecordError as cause:
            # What takes several columns to be wrong (too long, say) is no column's fault.
            if str(cause) == str(bad):
                hint = bad.hint or (
                    f"Turn column {shown(str(name))} into text, numbers, lists or dicts first, or drop it."
                )
                return BadRecordError(f"column {shown(str(name))}: {bad.reason}", hint)
    return bad
