"""Reading results, with a server-side cursor: memory does not grow with the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa

from cascade_batch.store.tables import JOB_TIER

_FETCH_ROWS = 5000
_RESULTS = """
SELECT s.custom_id, s.row_no, s.status, s.answer, s.value::text, s.tier_no, s.quality,
       s.cost_nanousd, s.error
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
    """A row's result. `value` is JSON text; None where the answer does not fit the declared output."""

    custom_id: str
    row_no: int
    status: str
    answer: str | None
    value: str | None
    tier: str | None
    quality: float | None
    cost_nanousd: int
    error: str | None


def stream_results(connection: sa.Connection, job_id: int) -> Iterator[Result]:
    """Results in input order: rows answered and rows failed; rows still to come are left out."""
    query = sa.select(JOB_TIER.c.tier_no, JOB_TIER.c.name).where(JOB_TIER.c.job_id == job_id)
    names = {row.tier_no: row.name for row in connection.execute(query)}
    for custom_id, row_no, status, answer, value, tier_no, quality, cost, error in stream(
        connection, _RESULTS, {"job": job_id}
    ):
        yield Result(
            custom_id, row_no, status, answer, value, names.get(tier_no), quality, cost, error
        )


def stream(
    connection: sa.Connection, query: str, values: Mapping[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a query as the driver takes it, a few thousand at a time."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("the database driver must be psycopg")
    with raw.cursor(name="results") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(query, values)
        yield from cursor
