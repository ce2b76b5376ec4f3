"""What Postgres knows of all jobs: money, rows, queues. Read when Prometheus asks, and kept for seconds.

A job that is over stays for a quarter of an hour, so that its last figures are seen, and disappears.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.monitoring import catalogue as names
from cascade_batch.monitoring.catalogue import Metric
from cascade_batch.monitoring.figures import family
from cascade_batch.store.engine import make_engine

logger = logging.getLogger(__name__)

KEPT_S = 2.0
"""Prometheus asks every 15 seconds; several of them, or an impatient one, cost no more than this."""
_TIMEOUT = "SET LOCAL statement_timeout = '5s'"

_LIVE = """
SELECT job_id FROM cascade_store.job
 WHERE state IN ('queued', 'running', 'paused') OR finished_at > clock_timestamp() - interval '15 min'
"""
_STATES = "SELECT state, count(*) AS jobs FROM cascade_store.job GROUP BY state"
_JOBS = f"""
SELECT j.name AS job, j.rows_total, j.rows_failed, j.waves, j.saved_nanousd, b.budget_nanousd,
       b.overrun_nanousd,
       b.budget_nanousd - b.spent_nanousd - b.at_risk_nanousd - b.reserved_nanousd - b.overrun_nanousd
           AS free_nanousd
  FROM cascade_store.job j JOIN cascade_store.balance b USING (job_id) WHERE job_id IN ({_LIVE})
"""  # noqa: S608
_TIERS = f"""
SELECT j.name AS job, t.name AS tier, t.first_answers, t.refused_rows, t.escalated, t.spent_nanousd,
       coalesce((SELECT sum(l.amount_nanousd) FROM cascade_store.lost_call l
                  WHERE l.job_id = t.job_id AND l.tier_no = t.tier_no AND l.released_at IS NULL), 0)
           AS at_risk_nanousd
  FROM cascade_store.job_tier t JOIN cascade_store.job j USING (job_id) WHERE job_id IN ({_LIVE})
"""  # noqa: S608
_CHUNKS = f"""
SELECT j.name AS job, t.name AS tier, coalesce(c.ready, 0) AS ready, coalesce(c.leased, 0) AS leased,
       coalesce(c.reserved_nanousd, 0) AS reserved_nanousd,
       CASE WHEN c.ready > 0 AND j.state <> 'paused' THEN
           extract(epoch FROM clock_timestamp() - coalesce(w.planned_at, j.created_at))::float
       END AS age_s
  FROM cascade_store.job_tier t JOIN cascade_store.job j USING (job_id)
  LEFT JOIN (
       SELECT job_id, tier_no, count(*) FILTER (WHERE state = 'ready') AS ready,
              count(*) FILTER (WHERE state = 'leased') AS leased,
              sum(reserved_nanousd) AS reserved_nanousd, min(wave) FILTER (WHERE state = 'ready') AS wave
         FROM cascade_store.chunk WHERE state <> 'done' AND job_id IN ({_LIVE}) GROUP BY 1, 2) c
       USING (job_id, tier_no)
  LEFT JOIN cascade_store.wave w ON w.job_id = j.job_id AND w.wave = c.wave
 WHERE j.job_id IN ({_LIVE})
"""  # noqa: S608
_OF_JOBS: dict[Metric, str] = {
    names.ROWS: "rows_total",
    names.ROWS_FAILED: "rows_failed",
    names.WAVES: "waves",
    names.BUDGET: "budget_nanousd",
    names.FREE: "free_nanousd",
    names.OVERRUN: "overrun_nanousd",
    names.SAVED: "saved_nanousd",
}
_OF_TIERS: dict[Metric, str] = {
    names.ROWS_ANSWERED: "first_answers",
    names.ROWS_REFUSED: "refused_rows",
    names.ROWS_ESCALATED: "escalated",
    names.SPENT: "spent_nanousd",
    names.AT_RISK: "at_risk_nanousd",
}
_OF_CHUNKS: dict[Metric, str] = {
    names.QUEUED: "ready",
    names.LEASED: "leased",
    names.RESERVED: "reserved_nanousd",
}


class DatabaseFigures(Collector):
    """Asks the database, at most every few seconds. For several threads."""

    def __init__(self, database_url: str) -> None:
        self._engine = make_engine(database_url, pooled=True)
        self._lock = threading.Lock()
        self._kept: list[Family] = []
        self._asked_at = float("-inf")

    def collect(self) -> Iterable[Family]:
        """What the database says; while it is away, only that it is."""
        with self._lock:
            if time.monotonic() > self._asked_at + KEPT_S:
                self._kept = self._ask()
                self._asked_at = time.monotonic()
            return self._kept

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _ask(self) -> list[Family]:
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text(_TIMEOUT))
                found = _read(connection)
        except SQLAlchemyError as error:
            said = str(error).strip().partition("\n")[0]
            logger.warning("no figures from the database: %s", said)
            self._engine.dispose()
            return [family(names.UP, {(): [0.0]})]
        return [family(names.UP, {(): [1.0]}), *found]


def _read(connection: sa.Connection) -> list[Family]:
    def ask(query: str) -> list[Any]:
        return list(connection.execute(sa.text(query)).mappings())

    states: dict[tuple[str, ...], list[float]] = {
        (row["state"],): [float(row["jobs"])] for row in ask(_STATES)
    }
    chunks = ask(_CHUNKS)
    oldest: dict[tuple[str, ...], list[float]] = {}
    for row in chunks:
        age_s = max(row["age_s"] or 0.0, 0.0)
        oldest[(row["tier"],)] = [max(age_s, *oldest.get((row["tier"],), [0.0]))]
    return [
        family(names.JOBS, states),
        *_families(ask(_JOBS), _OF_JOBS),
        *_families(ask(_TIERS), _OF_TIERS),
        *_families(chunks, _OF_CHUNKS),
        family(names.OLDEST, oldest),
    ]


def _families(rows: list[Any], columns: dict[Metric, str]) -> list[Family]:
    return [
        family(
            metric,
            {
                tuple(row[label] for label in metric.labels): [_in_base_unit(row[column], column)]
                for row in rows
            },
        )
        for metric, column in columns.items()
    ]


def _in_base_unit(value: Any, column: str) -> float:
    return float(value) / (NANOUSD_PER_USD if column.endswith("_nanousd") else 1)
