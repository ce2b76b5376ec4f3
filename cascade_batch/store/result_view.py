"""`results."<job name>"`: the job as a table a person would have drawn.

The input's columns, the answer, the fields of the output schema as typed columns, then how the answer
came about. Names come from strangers' files: each is quoted, and cut to what Postgres keeps of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

MAX_IDENTIFIER_BYTES = 63
MAX_COLUMNS = 1500
"""Postgres allows 1,600 columns in a view; the rest of a wider input stays in `cascade.rows.input`."""
_OWN = ("row_no", "custom_id", "answer", "tier", "quality", "cost_usd", "status", "error")
_SQL_TYPE = {"number": "numeric", "integer": "bigint", "boolean": "boolean"}


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
        json_schema: The output's schema, whose top-level properties become columns.
    """
    taken = set(_OWN)
    chosen: list[sql.Composable] = [sql.SQL("s.row_no, s.custom_id")]
    for column, kind in list(columns.items())[:MAX_COLUMNS]:
        label = _label(column, taken, prefix="input_")
        chosen.append(
            sql.SQL("{} AS {}").format(_extract("s.input", column, kind), sql.Identifier(label))
        )
    chosen.append(sql.SQL("s.answer"))
    for field, kind in _schema_fields(json_schema):
        label = _label(field, taken, prefix="answer_")
        chosen.append(
            sql.SQL("{} AS {}").format(_extract("s.value", field, kind), sql.Identifier(label))
        )
    chosen.append(
        sql.SQL(
            "t.name AS tier, s.quality, cascade.usd(s.cost_nanousd) AS cost_usd, s.status, s.error"
        )
    )
    connection.execute(
        sql.SQL(
            "CREATE OR REPLACE VIEW {view} AS SELECT {columns}"
            " FROM cascade_store.standing({job}) s"
            " LEFT JOIN cascade_store.job_tier t ON t.job_id = {job} AND t.tier_no = s.tier_no"
        ).format(
            view=sql.Identifier("results", name),
            columns=sql.SQL(", ").join(chosen),
            job=sql.Literal(job_id),
        )
    )


def drop_result_view(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """Drop the job's view, and what users built on it with it."""
    connection.execute(
        sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(sql.Identifier("results", name))
    )


def _schema_fields(schema: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    properties = (schema or {}).get("properties")
    if not isinstance(properties, Mapping):
        return []
    return [(str(k), _json_type(v)) for k, v in properties.items()]


def _json_type(schema: Any) -> str:
    kinds: Any = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kinds, Sequence) and not isinstance(kinds, str):
        named = [k for k in kinds if k != "null"]
        kinds = named[0] if len(named) == 1 else None
    if kinds == "string" or (kinds is None and isinstance(schema, Mapping) and "enum" in schema):
        return "string"
    # A JSON integer may be written 1.0 or exceed 64 bits: numeric holds them all.
    return {"number": "number", "integer": "number", "boolean": "boolean"}.get(str(kinds), "json")


def _extract(source: str, key: str, kind: str) -> sql.Composable:
    """An expression that never raises: a value of another type than declared reads as NULL."""
    if kind == "json":
        return sql.SQL(source + " -> {}").format(sql.Literal(key))
    text = sql.SQL(source + " ->> {}").format(sql.Literal(key))
    if kind not in _SQL_TYPE:
        return text
    return sql.SQL("CASE WHEN jsonb_typeof({value}) = {kind} THEN ({text})::{type} END").format(
        value=sql.SQL(source + " -> {}").format(sql.Literal(key)),
        kind=sql.Literal(kind),
        text=text,
        type=sql.SQL(_SQL_TYPE[kind]),
    )


def _label(name: str, taken: set[str], *, prefix: str) -> str:
    label = _cut(name.replace("\0", "")) or "column"
    if label in taken:
        label = _cut(prefix + name)
    number = 2
    while label in taken:
        label = f"{_cut(prefix + name, MAX_IDENTIFIER_BYTES - 8)}_{number}"
        number += 1
    taken.add(label)
    return label


def _cut(name: str, most: int = MAX_IDENTIFIER_BYTES) -> str:
    return name.encode()[:most].decode(errors="ignore")
