"""A job's frontier: what other budgets would bring, drawn from the evidence that the planner plans by.

Drawn anew whenever somebody asks, in whatever state the job is; and once when it finishes, to be stored with
it, so that `status` and `budget` can tell of it without reading a million rows.

Calls in flight are taken as not made: what they reserve comes back as money, and what they will answer is
expected like any other answer. Money that is gone and left no first answer (second samples, verdicts,
what is at risk, overruns) is gone at every budget, so that the whole curve is moved by it.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import sqlalchemy as sa

from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.engine.evidence import JobEvidence
from cascade_batch.engine.job_view import standing_of
from cascade_batch.engine.jobs import Job, find_job
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.ledger import Balance, read_balance
from cascade_batch.policy import JobView
from cascade_batch.policy.frontier import Frontier
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.tables import JOB_TIER

logger = logging.getLogger(__name__)


def job_frontier(engine: sa.Engine, name: str, *, planner: Planner = PLANNER) -> dict[str, Any]:
    """Draw a job's frontier from what is known of it now. Locks nothing, and keeps no planner waiting.

    Returns:
        `job`; `policy`, the job's own: the frontier is that of `auto`; `labels`, where the word on answers
        comes from; `measured`, False if too few labels were seen, so that the numbers order budgets and
        measure nothing; `rows`; `budget_usd`; `spent_usd`; `points`, budgets in ascending order, the job's
        own among them, each with `budget_usd`, `quality` (expected mean over all rows), `low` and `high`
        (90 % interval) and `supported` (False where the plan leans on tiers of which too few answers were
        seen); and `next_usd_gain`, right answers more that one further dollar is expected to bring.

    Raises:
        JobNotFoundError: There is no such job.
    """
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        job = find_job(connection, name)
        stopped = connection.execute(
            sa.select(JOB_TIER.c.stopped.is_not(None))
            .where(JOB_TIER.c.job_id == job.job_id)
            .order_by(JOB_TIER.c.tier_no)
        ).scalars()
        are_stopped = np.array(stopped.all(), dtype=np.bool_)
        balance = read_balance(connection, job.job_id)
        raw = raw_connection(connection)
        # What the planner keeps in memory is its lock's holder's alone.
        evidence = JobEvidence(raw, job.job_id, job.spec)
        evidence.update(raw)
    view = standing_of(evidence, job.spec, are_stopped, balance).shown
    return {"job": job.name, **_drawn(job, view, balance, planner)}


def frontier_at_finish(
    job: Job, view: JobView, balance: Balance, planner: Planner
) -> dict[str, Any] | None:
    """The frontier to store with a job that is about to finish; None, and a line in the log, if it can't be
    drawn: that is no reason for a job to fail."""
    try:
        return _drawn(job, view, balance, planner)
    except Exception:
        logger.exception("job %s: its frontier can't be drawn", job.name)
        return None


def _drawn(job: Job, view: JobView, balance: Balance, planner: Planner) -> dict[str, Any]:
    gone = balance.spent_nanousd + balance.at_risk_nanousd + balance.overrun_nanousd
    without_answer = gone - int(view.cost_nanousd.sum())
    frontier = planner.draw_frontier(
        view,
        budget_nanousd=max(balance.budget_nanousd - without_answer, 0),
        seed=job.spec.seed,
    )
    budgets = frontier.budget_nanousd + without_answer
    return {
        "policy": job.spec.policy,
        "labels": view.labels.name.lower(),
        "measured": frontier.is_measured,
        "rows": job.rows_total,
        "budget_usd": balance.budget_nanousd / NANOUSD_PER_USD,
        "spent_usd": balance.spent_nanousd / NANOUSD_PER_USD,
        "points": [
            {
                "budget_usd": budget / NANOUSD_PER_USD,
                "quality": _finite(quality),
                "low": _finite(low),
                "high": _finite(high),
                "supported": bool(supported),
            }
            for budget, quality, low, high, supported in zip(
                budgets.tolist(),
                frontier.quality.tolist(),
                frontier.low.tolist(),
                frontier.high.tolist(),
                frontier.supported.tolist(),
                strict=True,
            )
            # Answers that were taken over cost this job nothing: what they are worth is no budget of it.
            if budget >= 0
        ],
        "next_usd_gain": _next_usd_gain(
            frontier, balance.budget_nanousd - without_answer, job.rows_total
        ),
    }


def _next_usd_gain(frontier: Frontier, budget_nanousd: int, rows: int) -> float:
    """What a further dollar brings at the margin's price, but no more than there is to gain at all: to a
    small job a dollar is no small step."""
    here = int(np.searchsorted(frontier.budget_nanousd, budget_nanousd))
    left = float(frontier.quality[-1] - frontier.quality[here]) * rows
    return _finite(max(min(frontier.next_usd_gain, left), 0.0))


def _finite(value: float) -> float:
    """The value, which JSON has to be able to hold.

    Raises:
        ValueError: It is no number.
    """
    if not math.isfinite(value):
        raise ValueError(f"the frontier holds {value}")
    return value
