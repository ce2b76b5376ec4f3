"""Reading results, with a server-side cursor: memory does not grow with the job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa

from cascade_batch.store.tables import JOB_TIER

_FETCH_ROWS = 5000
_FETCH_INPUTS = 500
"""Inputs may be long, and so many are held at once."""
_BLOCK_ROWS = 20_000
_BLOCK_CHARS = 8 * 2**20
_RESULTS = """
SELECT s.custom_id, s.row_no, s.status, s.answer, s.value::text, s.tier_no, s.quality,
       s.cost_nanousd, s.error, {more}
  FROM cascade_store.standing(%(job)s) s
 WHERE s.status <> 'pending'
 ORDER BY s.row_no
"""
FIELDS = (
    "custom_id",
    "row_no",
    "status",
    "answer",
    "value",
    "tier",
    "quality",
    "cost_usd",
    "error",
)


class Result(NamedTuple):
    """A row's result. `value` is JSON text; None where the answer does not fit the declared output. So is
    `input`; None where it was not asked for."""

    custom_id: str
    row_no: int
    status: str
    answer: str | None
    value: str | None
    tier: str | None
    quality: float | None
    cost_nanousd: int
    error: str | None
    input: str | None = None


def stream_results(
    connection: sa.Connection, job_id: int, *, with_input: bool = False
) -> Iterator[Result]:
    """Results in input order: rows answered and rows failed; rows still to come are left out."""
    query = sa.select(JOB_TIER.c.tier_no, JOB_TIER.c.name).where(JOB_TIER.c.job_id == job_id)
    names = {row.tier_no: row.name for row in connection.execute(query)}
    more, at_once = ("s.input::text", _FETCH_INPUTS) if with_input else ("NULL", _FETCH_ROWS)
    query_text = _RESULTS.format(more=more)
    for row in stream(connection, query_text, {"job": job_id}, at_once=at_once):
        yield Result._make((*row[:5], names.get(row[5]), *row[6:]))


def blocks(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Results some ten thousand at a time; fewer, where their inputs are long."""
    block: list[Result] = []
    chars = 0
    for result in results:
        block.append(result)
        chars += len(result.input or "")
        if len(block) == _BLOCK_ROWS or chars >= _BLOCK_CHARS:
            yield block
            block, chars = [], 0
    if block:
        yield block


def stream(
    connection: sa.Connection,
    query: str,
    values: Mapping[str, Any],
    *,
    at_once: int = _FETCH_ROWS,
) -> Iterator[tuple[Any, ...]]:
    """Rows of a query as the driver takes it, `at_once` at a time."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("the database driver must be psycopg")
    with raw.cursor(name="results") as cursor:
        cursor.itersize = at_once
        cursor.execute(query, values)
        yield from cursor
