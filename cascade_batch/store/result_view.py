"""`results."<job name>"`: the job as a table a person would have drawn.

The input's columns, the answer, its parts as typed columns, then how the answer came about. Names come from
strangers' files: each is quoted, and cut to what Postgres keeps of it. Who gets a name that several want is
decided in one order: the view's own columns, the input's in the order first seen, the answer's.

It is a view, not a copy: it shows a running job as it stands, and reads no more than a query asks of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cascade_batch.domain.output_columns import (
    Kind,
    OutputColumn,
    cut_name,
    output_columns,
    unique_name,
)
from cascade_batch.store.reader import READER

MAX_IDENTIFIER_BYTES = 63
MAX_INPUT_COLUMNS = 1000
"""Postgres allows 1,600 columns in a view; the rest of a wider input stays in `cascade.rows.input`."""
_OWN = ("row_no", "custom_id", "answer", "value", "tier", "quality", "cost_usd", "status", "error")
_SQL_TYPE: dict[Kind, LiteralString] = {
    "boolean": "boolean",
    "integer": "numeric",
    "number": "numeric",
}
"""JSON's integers may be written 1.0 and exceed 64 bits: numeric holds them all."""
_JSON_TYPE: dict[Kind, LiteralString] = {
    "boolean": "boolean",
    "integer": "number",
    "number": "number",
}
_INPUT_KINDS: dict[str, Kind] = {"string": "text", "number": "number", "boolean": "boolean"}


def create_result_view(
    connection: psycopg.Connection[tuple[object, ...]],
    *,
    job_id: int,
    name: str,
    columns: Mapping[str, str],
    json_schema: Mapping[str, Any] | None,
) -> None:
    """Create the job's view.

    Args:
        columns: Input column -> its JSON type over all rows: string, number, boolean or json.
        json_schema: The output's schema; None: answers are texts.
    """
    inputs = view_inputs(columns)
    taken = {*_OWN, *(column.name for column in inputs)}
    answers = output_columns(json_schema, taken, most_bytes=MAX_IDENTIFIER_BYTES)
    chosen: list[sql.Composable] = [
        sql.SQL("s.row_no, s.custom_id"),
        *(_selected("s.input", column) for column in inputs),
        sql.SQL("s.answer"),
        *(_selected("s.value", column) for column in answers),
        sql.SQL(
            "t.name AS tier, s.quality, cascade.usd(s.cost_nanousd) AS cost_usd, s.status, s.error"
        ),
    ]
    view = sql.Identifier("results", name)
    connection.execute(
        sql.SQL(
            "CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM ({standing}) s"
            " LEFT JOIN cascade_store.job_tier t ON t.job_id = {job} AND t.tier_no = s.tier_no"
        ).format(
            view=view,
            columns=sql.SQL(", ").join(chosen),
            standing=_standing(connection, job_id),
            job=sql.Literal(job_id),
        )
    )
    _open_to_readers(connection, view)
    _explain_names(connection, view, inputs, "column {!r} of the input")
    _explain_names(connection, view, answers[1:], "field {!r} of the answer")


def view_inputs(columns: Mapping[str, str]) -> list[OutputColumn]:
    """The input's columns as the view calls them; those beyond what it can hold are left out.

    Args:
        columns: Input column -> its JSON type over all rows.
    """
    taken = set(_OWN)
    return [
        OutputColumn(
            unique_name(column, taken, "input_", MAX_IDENTIFIER_BYTES),
            (column,),
            _INPUT_KINDS.get(kind, "json"),
        )
        for column, kind in list(columns.items())[:MAX_INPUT_COLUMNS]
    ]


def drop_result_view(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """Drop the job's view, and what users built on it with it."""
    connection.execute(
        sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(sql.Identifier("results", name))
    )


def _open_to_readers(
    connection: psycopg.Connection[tuple[object, ...]], view: sql.Identifier
) -> None:
    """What the account that migrated the database makes is opened by default; what others make is not."""
    role = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone()
    if role is not None:
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(view, sql.Identifier(READER)))


def _standing(connection: psycopg.Connection[tuple[object, ...]], job_id: int) -> sql.Composable:
    """The query of `cascade_store.standing` for this job, see its migration."""
    found = connection.execute("SELECT cascade_store.standing_query(%s)", [str(job_id)]).fetchone()
    if found is None or not isinstance(found[0], str):
        raise TypeError("the database has no query for the answers that stand")
    # It comes from our own migration, and what was put into it is a number.
    return sql.SQL(found[0])


def _selected(source: LiteralString, column: OutputColumn) -> sql.Composable:
    return sql.SQL("{} AS {}").format(_extract(source, column), sql.Identifier(column.name))


def _extract(source: LiteralString, column: OutputColumn) -> sql.Composable:
    """An expression that never raises: a value of another type than declared reads as NULL."""
    value = sql.SQL(" -> ").join([sql.SQL(source), *map(sql.Literal, column.path)])
    if column.kind == "json":
        return value
    if column.is_list:
        return _list(value, column.kind)
    text = (
        sql.SQL(" ->> ").join(
            [sql.SQL(" -> ").join([sql.SQL(source), *map(sql.Literal, column.path[:-1])]),
             sql.Literal(column.path[-1])]
        )
        if column.path
        else sql.SQL("({} #>> '{{}}')").format(value)
    )  # fmt: skip
    if column.kind not in _SQL_TYPE:
        return text
    return sql.SQL("CASE WHEN jsonb_typeof({value}) = {json} THEN ({text})::{type} END").format(
        value=value,
        json=sql.Literal(_JSON_TYPE[column.kind]),
        text=text,
        type=sql.SQL(_SQL_TYPE[column.kind]),
    )


def _list(value: sql.Composable, kind: Kind) -> sql.Composable:
    json_type = _JSON_TYPE.get(kind, "string")
    return sql.SQL(
        "CASE WHEN jsonb_typeof({value}) = 'array' AND NOT jsonb_path_exists({value}, {other})"
        " THEN ARRAY(SELECT e::{type} FROM jsonb_array_elements_text({value}) e) END"
    ).format(
        value=value,
        other=sql.Literal(f'strict $[*] ? (@.type() != "{json_type}" && @.type() != "null")'),
        type=sql.SQL(_SQL_TYPE.get(kind, "text")),
    )


def _explain_names(
    connection: psycopg.Connection[tuple[object, ...]],
    view: sql.Identifier,
    columns: Sequence[OutputColumn],
    what: str,
) -> None:
    """Say of columns that could not be called what they are where they come from."""
    for column in columns:
        if column.name != "_".join(column.path):
            connection.execute(
                sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                    view,
                    sql.Identifier(column.name),
                    sql.Literal(
                        what.format(cut_name(".".join(column.path).replace("\0", ""), 500))
                    ),
                )
            )
