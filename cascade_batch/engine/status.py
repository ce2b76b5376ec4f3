"""What `status` shows: read from counters, never by counting rows or answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.engine.jobs import job_not_found
from cascade_batch.engine.standstill import standstill_of
from cascade_batch.ledger import sum_write_offs
from cascade_batch.ledger.latency import percentile_ms
from cascade_batch.notifications.outbox import outbox_of
from cascade_batch.store.tables import BALANCE, JOB, JOB_TIER

_MONEY = ("budget", "spent", "reserved", "at_risk", "overrun", "ring_fence", "saved")


def list_jobs(connection: sa.Connection) -> list[dict[str, Any]]:
    """All jobs, the newest first; each as `job_status` gives it, without its tiers."""
    answered = (
        sa.select(JOB_TIER.c.job_id, sa.func.sum(JOB_TIER.c.first_answers).label("answered"))
        .group_by(JOB_TIER.c.job_id)
        .subquery()
    )
    query = (
        sa.select(JOB, BALANCE, answered.c.answered)
        .join(BALANCE, BALANCE.c.job_id == JOB.c.job_id)
        .join(answered, answered.c.job_id == JOB.c.job_id)
        .order_by(JOB.c.job_id.desc())
    )
    return [_job(row, int(row["answered"])) for row in connection.execute(query).mappings()]


def job_status(connection: sa.Connection, name: str) -> dict[str, Any]:
    """One job: state, rows by state, money in dollars, tiers with calls and latencies.

    Also what is at risk by tier and reason; what a job at work waits for that has not moved for a while
    (None: it moves); and the frontier as it was when the job finished last (None: it never did, or none
    could be drawn). `notifications` says what became of messages about it, a receiver each.

    Raises:
        JobNotFoundError: There is no such job.
    """
    row = (
        connection.execute(
            sa.select(JOB, BALANCE)
            .join(BALANCE, BALANCE.c.job_id == JOB.c.job_id)
            .where(JOB.c.name == name)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise job_not_found(connection, name)
    job_id = row[JOB.c.job_id]
    tiers = (
        connection.execute(
            sa.select(JOB_TIER).where(JOB_TIER.c.job_id == job_id).order_by(JOB_TIER.c.tier_no)
        )
        .mappings()
        .all()
    )
    status = _job(row, sum(t["first_answers"] for t in tiers))
    status["tiers"] = {t["name"]: _tier(t) for t in tiers}
    status["frontier"] = row["frontier"]
    status["notifications"] = outbox_of(connection, job_id)
    at_work = row["state"] in (JobState.QUEUED, JobState.RUNNING)
    status["standstill"] = standstill_of(connection, job_id) if at_work else None
    status["at_risk_calls"] = [
        {
            "tier": lost.tier,
            "reason": lost.reason,
            "calls": lost.calls,
            "worst_usd": lost.amount_nanousd / NANOUSD_PER_USD,
            "worst_nanousd": lost.amount_nanousd,
        }
        for lost in (sum_write_offs(connection, job_id) if row["at_risk_nanousd"] else [])
    ]
    return status


def _job(row: Any, answered: int) -> dict[str, Any]:
    total, failed = row["rows_total"], row["rows_failed"]
    return {
        "name": row["name"],
        "status": row["state"],
        "reason": row["reason"],
        "deleting": row["deleting"],
        "reading": row["reading"],
        **{f"{what}_usd": row[f"{what}_nanousd"] / NANOUSD_PER_USD for what in _MONEY},
        **{f"{what}_nanousd": row[f"{what}_nanousd"] for what in _MONEY},
        "rows": {
            "total": total,
            "answered": answered,
            "failed": failed,
            "pending": max(total - answered - failed, 0),
            "unfunded": row["rows_unfunded"],
        },
        "rows_duplicate": row["rows_duplicate"],
        "rows_unfit": row["rows_unfit"],
        "quality": row["quality"],
        "waves": row["waves"],
        "labels": row["labels"],
        "policy": row["spec"].get("policy"),
        "created_at": _time(row["created_at"]),
        "started_at": _time(row["started_at"]),
        "finished_at": _time(row["finished_at"]),
    }


def _tier(row: Any) -> dict[str, Any]:
    return {
        "model": row["model"],
        "calls": row["calls"],
        "answers": row["answers"],
        "cached": row["cached"],
        "escalated": row["escalated"],
        "refused_rows": row["refused_rows"],
        "lost_calls": row["lost_calls"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "spent_usd": row["spent_nanousd"] / NANOUSD_PER_USD,
        "latency_ms_p50": percentile_ms(row["latency_buckets"], 0.50),
        "latency_ms_p95": percentile_ms(row["latency_buckets"], 0.95),
        "stopped": row["stopped"],
    }


def _time(value: Any) -> str | None:
    return None if value is None else value.isoformat()
