"""The index of a DataFrame that was submitted, and how a job that is found again gets it back.

Labels are not stored: they are the program's, and may be anything. The process that submits keeps them. Any
other one either gives the DataFrame again, which is held against what is stored of it, or sees rows by their
numbers, and is told so where these are not what the DataFrame had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import orjson
import sqlalchemy as sa

from cascade_batch.datasets import InMemory
from cascade_batch.datasets.records import shown
from cascade_batch.errors import UsageError
from cascade_batch.results.reading import stream
from cascade_batch.store.columns import read_columns
from cascade_batch.store.engine import raw_connection

if TYPE_CHECKING:
    import pandas as pd

    from cascade_batch.domain.row import Record

_ROWS = "SELECT line_no, input::text FROM cascade_store.row WHERE job_id = %(job)s ORDER BY row_no"
_PLACES = "SELECT line_no FROM cascade_store.row WHERE job_id = {} ORDER BY row_no"


def kind_of_index(index: pd.Index[Any]) -> Literal["plain", "own"]:
    """Whether an index numbers its rows from 0, so that whoever counts them finds it again."""
    import pandas as pd

    is_plain = index.nlevels == 1 and index.equals(pd.RangeIndex(len(index)))
    return "plain" if is_plain else "own"


def plain_labels(connection: sa.Connection, job_id: int) -> pd.Index[Any]:
    """The labels of a DataFrame that was numbered from 0, a row of the job each: rows that were left out are
    missing."""
    import pandas as pd

    labels: pd.Index[Any] = pd.Index(_places(connection, job_id))
    return labels


def labels_of(connection: sa.Connection, job_id: int, name: str, data: Any) -> pd.Index[Any]:
    """The labels of a DataFrame that a job was submitted from, a row of the job each.

    Args:
        data: The DataFrame; it may have more columns by now.

    Raises:
        UsageError: It is none, or holds other rows than those that are stored; says which is the first.
    """
    held = InMemory(data)
    if held.index is None:
        raise UsageError(
            f"job(): data must be a DataFrame, not of type {type(data).__name__}.",
            hint="It is needed for its index only; other data have none.",
        )
    records = held.read(on_bad=lambda _: None)
    for line_no, text in stream(connection, _ROWS, {"job": job_id}):
        record = next((one for one in records if one.line_no >= line_no), None)
        what = _difference(record, line_no, orjson.loads(text))
        if what is not None:
            where = held.where(line_no) if line_no <= len(held.index) else "its end"
            raise UsageError(
                f"job(): this is not the DataFrame that job {name!r} was submitted from: at {where}, {what}.",
                hint="Give it with the rows, and in the order, that it had then; or leave it out, and join by"
                " custom_id.",
            )
    labels: pd.Index[Any] = held.index.take(_places(connection, job_id))
    return labels


def _difference(record: Record | None, line_no: int, stored: dict[str, Any]) -> str | None:
    if record is None:
        return "it has fewer rows"
    if record.line_no != line_no:
        return "its row can't be used"
    given = orjson.loads(orjson.dumps(record.fields))
    for column, value in stored.items():
        if column not in given:
            return f"it has no column {shown(column)}"
        if given[column] != value:
            return f"column {shown(column)} holds something else"
    return None


def _places(connection: sa.Connection, job_id: int) -> Any:
    """Where each row of the job stood in the data, from 0."""
    found = read_columns(
        raw_connection(connection), _PLACES.format(int(job_id)), [("line_no", "int4")]
    )
    return found["line_no"].astype("int64") - 1
