"""A job with rows and chunks but no data set: what the ledger's tests work on."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import psycopg
import sqlalchemy as sa

from cascade_batch.domain.answer import Answer, Signals, Verdict
from cascade_batch.ledger import open_account
from cascade_batch.store.engine import make_engine
from cascade_batch.store.partitions import attach_partitions, create_loading_table
from cascade_batch.store.tables import CHUNK, JOB, JOB_TIER


def make_job(
    database_url: str,
    *,
    worst_nanousd: Sequence[Sequence[int]],
    budget_nanousd: int,
    chunk_rows: int,
    escalate: bool = False,
    judge: bool = False,
) -> int:
    """A job at work with one row per entry of `worst_nanousd`; chunks of drafts on tier 0, with `escalate`
    chunks of the same rows on tier 1, and with `judge` chunks in which tier 1 judges tier 0 (claimed by
    the name "judge")."""
    engine = make_engine(database_url)
    tiers = len(worst_nanousd[0])
    with engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        job_id = connection.execute(
            sa.insert(JOB)
            .values(name=uuid4().hex, spec={}, state="running", rows_total=len(worst_nanousd))
            .returning(JOB.c.job_id)
        ).scalar_one()
        connection.execute(
            sa.insert(JOB_TIER),
            [{"job_id": job_id, "tier_no": t, "name": f"t{t}", "model": "m"} for t in range(tiers)],
        )
        create_loading_table(raw, job_id)
        with raw.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO cascade_store.row_{job_id}"
                " (job_id, row_no, line_no, custom_id, worst_nanousd, input)"
                " VALUES (%s, %s, %s, %s, %s, '{}')",
                [(job_id, n, n + 1, str(n), list(worst)) for n, worst in enumerate(worst_nanousd)],
            )
        attach_partitions(raw, job_id)
        open_account(
            connection,
            job_id=job_id,
            budget_nanousd=budget_nanousd,
            ring_fence_nanousd=sum(min(w) for w in worst_nanousd),
        )
        connection.execute(
            sa.insert(CHUNK),
            [
                {
                    "job_id": job_id,
                    "tier_no": tier_no,
                    "tier_name": f"t{tier_no}" if judged is None else "judge",
                    "action": 0 if judged is None else 2,
                    "judged_tier_no": judged,
                    "wave": tier_no,
                    "row_from": start,
                    "row_to": min(start + chunk_rows, len(worst_nanousd)),
                    "row_nos": None,
                    "row_count": min(chunk_rows, len(worst_nanousd) - start),
                }
                for tier_no, judged in [(0, None), *escalate * [(1, None)], *judge * [(1, 0)]]
                for start in range(0, len(worst_nanousd), chunk_rows)
            ],
        )
    engine.dispose()
    return int(job_id)


def answer(row_no: int, tier_no: int, cost_nanousd: int) -> Answer:
    """An answer of which only the price matters."""
    return Answer(
        row_no=row_no,
        tier_no=tier_no,
        text="yes",
        value="yes",
        passed=None,
        error=None,
        finish_reason="stop",
        usage=None,
        cost_nanousd=cost_nanousd,
        latency_ms=1.0,
        signals=Signals(),
    )


def verdict(row_no: int, tier_no: int, judge_tier_no: int, cost_nanousd: int) -> Verdict:
    """A verdict of which only the price matters."""
    return Verdict(
        row_no=row_no,
        tier_no=tier_no,
        judge_tier_no=judge_tier_no,
        passed=True,
        probability=0.75,
        text="yes",
        error=None,
        cost_nanousd=cost_nanousd,
        latency_ms=1.0,
    )
