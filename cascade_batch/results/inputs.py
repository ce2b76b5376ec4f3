"""The input's columns beside the answers: called as in the job's view, typed as they can be in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.output_columns import Kind, OutputColumn
from cascade_batch.results.key_order import exact_json
from cascade_batch.results.reading import FIELDS, Result
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.result_view import view_inputs

_TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
 WHERE attrelid = to_regclass(format('results.%%I', %(view)s::text)) AND attnum > 0
"""
_KINDS: dict[object, Kind] = {"text": "text", "numeric": "number", "boolean": "boolean"}
_IS_WHOLE = (
    "bool_and(CASE WHEN jsonb_typeof(input -> {column}) = 'number' THEN input ->> {column} !~ '[.eE]'"
    " AND abs((input ->> {column})::numeric) <= 9223372036854775807 END)"
)
_BEFORE = ("row_no", "custom_id")
_AFTER = ("tier", "quality", "cost_usd", "status", "error")


def read_inputs(connection: sa.Connection, job_id: int, spec: JobSpec) -> tuple[OutputColumn, ...]:
    """The input's columns as the job's view has them. Numbers that are all whole, and 64 bits hold, are
    integers, which takes one look at all rows."""
    raw = raw_connection(connection)
    types = {row[0]: row[1] for row in raw.execute(_TYPES, {"view": spec.name})}
    columns = view_inputs(dict.fromkeys(spec.columns, "json"))
    kinds = {column.name: _KINDS.get(types.get(column.name), "json") for column in columns}
    numbers = [column for column in columns if kinds[column.name] == "number"]
    if numbers:
        asked = [sql.SQL(_IS_WHOLE).format(column=sql.Literal(one.path[0])) for one in numbers]
        query = sql.SQL("SELECT {} FROM cascade_store.row WHERE job_id = {}").format(
            sql.SQL(", ").join(asked), sql.Literal(job_id)
        )
        found = raw.execute(query).fetchone() or ()
        for column, is_whole in zip(numbers, found, strict=True):
            kinds[column.name] = "integer" if is_whole else "number"
    return tuple(OutputColumn(one.name, one.path, kinds[one.name]) for one in columns)


def layout(inputs: Sequence[OutputColumn], values: Sequence[str]) -> list[str]:
    """The names of a table's columns in their order: that of the job's view, where it holds the input.

    Args:
        values: The columns that hold the value and its parts.
    """
    if not inputs:
        return [*FIELDS, *(name for name in values if name not in FIELDS)]
    return [*_BEFORE, *(column.name for column in inputs), "answer", *values, *_AFTER]


def input_reader(inputs: Sequence[OutputColumn]) -> Callable[[Result], dict[str, Any]]:
    """What gives a row's input by the names of its columns, as what orjson writes; null where it has none."""

    def read(result: Result) -> dict[str, Any]:
        given = exact_json(result.input or "{}")
        return {column.name: given.get(column.path[0]) for column in inputs}

    return read
