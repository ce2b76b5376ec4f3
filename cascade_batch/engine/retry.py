"""Retry: ask the rows that failed once more, and no others.

A row that failed has a choice without a tier, refusals, and maybe lost calls. All three are taken back for
the rows that are meant: then they are pending, and the planner buys for them as for any row without an
answer. Money that was lost on them stays at risk. Done twice, the second time finds nothing that failed, and
changes nothing.

No others: a paused job stays paused, and a job that was cancelled or failed with work left would do that,
too, if it went on. `resume` is the word for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cascade_batch.domain.job import JobState
from cascade_batch.engine.control import go_on
from cascade_batch.engine.jobs import Job, find_job, job_to_change, require_kept, require_whole
from cascade_batch.engine.ports import Publisher
from cascade_batch.engine.sweep import publish_ready
from cascade_batch.errors import UsageError
from cascade_batch.ledger import add_budget, read_balance
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.failures import FAILED, IS_OF_REASON, KIND
from cascade_batch.store.tables import JOB, JOB_TIER
from cascade_batch.words import command

# While a job runs, a row that a tier has refused has no choice yet. It may be asked on another one.
_CHOSEN = f"""
CREATE TEMPORARY TABLE retried ON COMMIT DROP AS
SELECT row_no, error FROM ({FAILED}) x WHERE {IS_OF_REASON.format(reason="reason", kind="kind")}
UNION ALL
SELECT row_no, error
  FROM (SELECT f.row_no, string_agg(f.message, '; ') AS error,
               CASE WHEN EXISTS (SELECT FROM cascade_store.lost_call l
                                  WHERE l.job_id = %(job)s AND l.row_no = f.row_no AND NOT l.forgiven)
                    THEN 'lost' ELSE 'refused' END AS reason
          FROM cascade_store.refusal f
         WHERE f.job_id = %(job)s
           AND NOT EXISTS (SELECT FROM cascade_store.answer a
                            WHERE a.job_id = %(job)s AND a.row_no = f.row_no)
           AND NOT EXISTS (SELECT FROM cascade_store.choice c
                            WHERE c.job_id = %(job)s AND c.row_no = f.row_no)
         GROUP BY f.row_no) y
 WHERE {IS_OF_REASON.format(reason="reason", kind=KIND.format(text="error"))}
"""  # noqa: S608
_PENDING = "DELETE FROM cascade_store.choice c USING retried x WHERE c.job_id = :job AND c.row_no = x.row_no"
_FORGET = (
    "DELETE FROM cascade_store.refusal f USING retried x WHERE f.job_id = :job AND f.row_no = x.row_no",
    (
        "UPDATE cascade_store.lost_call l SET forgiven = true FROM retried x"
        " WHERE l.job_id = :job AND l.row_no = x.row_no AND NOT l.forgiven"
    ),
)
_MINIMUM = """
SELECT coalesce(sum((SELECT min(w) FROM unnest(r.worst_nanousd) w)), 0)::bigint
  FROM retried x JOIN cascade_store.row r ON r.job_id = :job AND r.row_no = x.row_no
 WHERE NOT EXISTS (SELECT FROM cascade_store.follower f WHERE f.job_id = :job AND f.row_no = x.row_no)
"""
_WORK_LEFT = """
SELECT EXISTS (SELECT FROM cascade_store.chunk WHERE job_id = :job AND state <> 'done')
    OR EXISTS (SELECT FROM cascade_store.row r
                WHERE r.job_id = :job
                  AND NOT EXISTS (SELECT FROM retried x WHERE x.row_no = r.row_no)
                  AND NOT EXISTS (SELECT FROM cascade_store.answer a
                                   WHERE a.job_id = :job AND a.row_no = r.row_no)
                  AND NOT EXISTS (SELECT FROM cascade_store.choice c
                                   WHERE c.job_id = :job AND c.row_no = r.row_no)
                  AND NOT EXISTS (SELECT FROM cascade_store.refusal f
                                   WHERE f.job_id = :job AND f.row_no = r.row_no)
                  AND NOT EXISTS (SELECT FROM cascade_store.follower w
                                   WHERE w.job_id = :job AND w.row_no = r.row_no))
"""
_LEFT = "SELECT count(*) FROM cascade_store.choice WHERE job_id = :job AND tier_no IS NULL"
_STOPPERS = """
UPDATE cascade_store.job_tier t SET stopped = NULL
 WHERE t.job_id = :job AND EXISTS (SELECT FROM retried x WHERE strpos(x.error, t.stopped) > 0)
"""


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry set going.

    Attributes:
        rows: How many rows are asked once more.
        missing_nanousd: What would have to be added so that all of them can be, at worst case on their
            cheapest tier.
        is_paused: Whether they have to wait until the job is resumed.
    """

    rows: int
    missing_nanousd: int
    is_paused: bool = False


def retry_failed(
    engine: sa.Engine,
    name: str,
    publisher: Publisher,
    *,
    reason: str | None = None,
    add_nanousd: int = 0,
    actor: str | None = None,
) -> Retried:
    """Ask the rows that failed once more; a finished job goes on, a paused one stays paused. Without such
    rows nothing changes, and nothing is added to the budget.

    Args:
        reason: Only these: money, refused, lost, stopped, or words that the message holds (whatever their
            case, and whatever numbers are in them). None: all of them; tiers that were stopped start again.
        add_nanousd: Added to the budget, together with the rest or not at all.
        actor: Who adds it, for the ledger.

    Raises:
        JobNotFoundError: There is no such job.
        UsageError: It was cancelled or failed with work left, which would be done as well; it is being
            deleted; or it holds a part of its data set only.
    """
    with engine.begin() as connection:
        job_id = require_whole(require_kept(find_job(connection, name))).job_id
        key = {"job": job_id}
        raw_connection(connection).execute(_CHOSEN, {"job": job_id, "reason": reason})
        rows = connection.execute(sa.text("SELECT count(*) FROM retried")).scalar_one()
        if not rows:
            return Retried(0, 0)
        # Before the job is locked, in the order of a planner that is just finishing it.
        connection.execute(sa.text(_PENDING), key)
        job = require_whole(job_to_change(connection, name))
        _require_no_others(connection, job)
        # As in a worker's turn: the balance comes before the tiers.
        read_balance(connection, job_id, lock=True)
        _forgive(connection, job_id, is_all=reason is None)
        if add_nanousd:
            add_budget(connection, job_id=job_id, add_nanousd=add_nanousd, actor=actor)
        is_paused = job.state is JobState.PAUSED
        if not is_paused:
            go_on(connection, job)
        connection.execute(
            # A plan that is being made takes them for refused. What failed for other reasons stays counted.
            sa.update(JOB)
            .where(JOB.c.job_id == job_id)
            .values(
                plan_generation=JOB.c.plan_generation + 1,
                planned_calls=None,
                rows_failed=connection.execute(sa.text(_LEFT), key).scalar_one(),
            )
        )
        minimum = connection.execute(sa.text(_MINIMUM), key).scalar_one()
        missing = max(minimum - read_balance(connection, job_id).free_nanousd, 0)
    if not is_paused:
        publish_ready(engine, publisher)
        publisher.publish_plan(name)
    return Retried(rows, missing, is_paused)


def _require_no_others(connection: sa.Connection, job: Job) -> None:
    """Refuse to start a job for the rows that failed when it would go on with others as well."""
    if job.state not in (JobState.CANCELLED, JobState.FAILED):
        return
    if connection.execute(sa.text(_WORK_LEFT), {"job": job.job_id}).scalar_one():
        what = "was cancelled" if job.state is JobState.CANCELLED else "failed"
        raise UsageError(
            f"Job {job.name!r} {what} with work left: going on with it would do all of that, not only ask the"
            " rows that failed.",
            hint="If that is meant: "
            + command("resume", job.name, "--retry-failed", call="resume(retry_failed=True)"),
        )


def _forgive(connection: sa.Connection, job_id: int, *, is_all: bool) -> None:
    """Take back what speaks against the rows, and against tiers that were stopped because of them."""
    key = {"job": job_id}
    for statement in _FORGET:
        connection.execute(sa.text(statement), key)
    if is_all:
        connection.execute(
            sa.update(JOB_TIER).where(JOB_TIER.c.job_id == job_id).values(stopped=None)
        )
    else:
        connection.execute(sa.text(_STOPPERS), key)
