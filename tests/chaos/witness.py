"""What has to be so after every run, and the figures that a run gives.

The provider's bill and its log of requests are the independent witness; the rest is asked of the commands
that ship: `cascade-batch audit` (its function, held against the bill) and `status`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cascade_batch.engine.jobs import find_job
from cascade_batch.engine.status import job_status
from cascade_batch.ledger import AuditReport, audit_job
from cascade_batch.providers.scripted import LogEntry, Statement
from cascade_batch.store.engine import make_engine
from tests.chaos.blows import TAKING_LEASES
from tests.chaos.scene import LEASE_S, Scene

REPORT_VARIABLE = "CASCADE_CHAOS_REPORT"
"""Names a file that gets a line of JSON per run."""


@dataclass
class Struck:
    """A blow that struck. Seconds are counted from its beginning, so that they hold what it lasted itself.

    Attributes:
        after_s: Since the job was submitted.
        lasted_s: From its beginning until it was dealt (a freeze lasts as long as the lease).
        still_s: The longest time, from its beginning to the next blow or the job's end, in which no answer
            was stored: how long it took to recover, planning included.
        resolved_s: Until the last reservation of a worker that it took was written off; None: there was none.
        lost_calls: How many were written off so.
        lost_nanousd: Their worst cases.
    """

    name: str
    began_at: float
    after_s: float
    lasted_s: float
    still_s: float = 0.0
    resolved_s: float | None = None
    lost_calls: int = 0
    lost_nanousd: int = 0


@dataclass
class Figures:
    """A run.

    Attributes:
        faults: What the provider did, by kind.
        unanswered: Rows whose last call was lost when all money was spent.
        at_risk_nanousd: Written off for what blows and the provider's faults left unknown.
        paid_twice: Calls billed for a row and model that had been billed before.
        paid_twice_after_fault: Those of them after a fault of the provider.
        ended_s: From the last blow's beginning to the job's end.
    """

    seed: int
    rows: int
    blows: list[Struck]
    not_struck: list[str]
    faults: dict[str, int]
    calls: int = 0
    unanswered: int = 0
    budget_nanousd: int = 0
    at_risk_nanousd: int = 0
    paid_twice: int = 0
    paid_twice_after_fault: int = 0
    ended_s: float | None = None
    problems: list[str] = field(default_factory=list)


def verdict(
    status: Mapping[str, Any], bill: Statement, requests: Sequence[LogEntry], audit: AuditReport
) -> list[str]:
    """Hold a job that should have ended well against all that is promised; what differs, in words.

    Args:
        status: What `cascade-batch status JOB --json` gives.
        bill: The provider's.
        requests: The provider's log of this job, whole.
        audit: What `cascade-batch audit JOB --bill …` found: it adds up the ledger, its answers and its
            leases, each row once, and holds the bill against them.
    """
    rows, budget = status["rows"], status["budget_nanousd"]
    known = status["spent_nanousd"] + status["overrun_nanousd"] + status["at_risk_nanousd"]
    billed = sum(entry["billed_nanousd"] for entry in requests)
    answers = sum(tier["answers"] for tier in status["tiers"].values())
    lost = sum(tier["lost_calls"] for tier in status["tiers"].values())
    checks = [
        (not audit.differences, f"the audit differs: {audit.differences}"),
        (status["status"] == "finished", f"it ended as {status['status']}: {status['reason']}"),
        (rows["answered"] + rows["failed"] == rows["total"], f"rows were left over: {rows}"),
        # Where all money is spent on escalations, what is lost afterwards can't be asked again.
        (rows["failed"] == rows["unfunded"], f"rows failed for which there was money: {rows}"),
        (billed == bill["total_nanousd"], f"log and bill differ: {billed}, {bill}"),
        (billed <= budget, f"billed {billed}, above the budget of {budget}"),
        (billed <= known, f"billed {billed}, of which the ledger knows {known}"),
        (status["reserved_nanousd"] == 0, f"{status['reserved_nanousd']} are still reserved"),
        (
            bill["calls_billed"] <= answers + lost,
            f"{bill['calls_billed']} calls were billed, {answers} answered and {lost} lost",
        ),
    ]
    return [said for is_so, said in checks if not is_so]


def look(scene: Scene, seed: int, blows: list[Struck], not_struck: list[str]) -> Figures:
    """Judge a job that has ended, and add up what it gives. `problems` is empty where all is well."""
    bill, requests = scene.server.bill(), scene.server.log()
    engine = make_engine(scene.services.database_url)
    try:
        with engine.connect() as connection:
            status = job_status(connection, scene.job)
            job_id = find_job(connection, scene.job).job_id
        with engine.connect() as connection:
            audit = audit_job(connection, job_id, bill_nanousd=bill["total_nanousd"])
        with engine.connect() as connection:
            problems = verdict(status, bill, requests, audit) + _invariant(connection)
            problems += _unexplained(connection, job_id)
    finally:
        engine.dispose()
    twice, after_fault = _paid_twice(requests)
    end = scene.witness.one(
        "SELECT extract(epoch FROM finished_at)::float FROM cascade_store.job WHERE name = %(job)s",
        job=scene.job,
    )
    _follow_up(scene, blows, end)
    return Figures(
        seed=seed,
        rows=status["rows"]["total"],
        blows=blows,
        not_struck=not_struck,
        faults=dict(Counter(entry["fault"] for entry in requests if entry["fault"])),
        calls=bill["calls_total"],
        unanswered=status["rows"]["failed"],
        budget_nanousd=status["budget_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        paid_twice=twice,
        paid_twice_after_fault=after_fault,
        ended_s=end - blows[-1].began_at if blows else None,
        problems=problems,
    )


def report(figures: Figures) -> None:
    """Append a run to the file that the environment names, if it names one."""
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(figures)) + "\n")


def _invariant(connection: sa.Connection) -> list[str]:
    """The database itself must hold spent + at risk + reserved within the budget."""
    checks = connection.execute(
        sa.text(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND convalidated"
            " AND conrelid = 'cascade_store.balance'::regclass"
        )
    ).scalars()
    words = ("spent_nanousd", "at_risk_nanousd", "reserved_nanousd", "<= budget_nanousd")
    held = any(all(word in check for word in words) for check in checks)
    return [] if held else ["no CHECK of the database holds the invariant"]


def _unexplained(connection: sa.Connection, job_id: int) -> list[str]:
    """Rows without an answer although no call for them was lost."""
    rows = connection.execute(
        sa.text(
            "SELECT row_no, error FROM cascade_store.choice c WHERE job_id = :job AND tier_no IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM cascade_store.lost_call l"
            " WHERE l.job_id = :job AND l.row_no = c.row_no)"
        ),
        {"job": job_id},
    )
    return [f"row {row_no} has no answer: {error}" for row_no, error in rows]


def _follow_up(scene: Scene, blows: Sequence[Struck], finished_at: float) -> None:
    """What each blow cost."""
    lost = scene.witness.ask(
        "SELECT extract(epoch FROM l.at)::float AS at, l.amount_nanousd FROM cascade_store.lost_call l"
        " JOIN cascade_store.job j USING (job_id) WHERE j.name = %(job)s AND l.reason = 'worker lost'",
        job=scene.job,
    )
    for call in lost:
        # A lease that was renewed last before the blow, a third of it ago at most, ran out since.
        before = [b for b in blows if b.began_at < call["at"] - LEASE_S / 2] or list(blows)
        guilty = [b for b in before if b.name in TAKING_LEASES] or before
        if guilty:
            blow = guilty[-1]
            blow.lost_calls += 1
            blow.lost_nanousd += call["amount_nanousd"]
            blow.resolved_s = max(blow.resolved_s or 0.0, call["at"] - blow.began_at)
    ends = [*(blow.began_at for blow in blows), finished_at][1:]
    for blow, end in zip(blows, ends, strict=False):
        blow.still_s = scene.witness.one(
            "SELECT max(t - before)::float FROM ("
            "  SELECT t, lag(t) OVER (ORDER BY t) AS before FROM ("
            "    SELECT extract(epoch FROM a.answered_at) AS t FROM cascade_store.answer a"
            "      JOIN cascade_store.job j USING (job_id) WHERE j.name = %(job)s"
            "    UNION ALL SELECT %(at)s UNION ALL SELECT %(end)s) x"
            "  WHERE t BETWEEN %(at)s AND %(end)s) y",
            job=scene.job,
            at=blow.began_at,
            end=end,
        )


def _paid_twice(requests: Sequence[LogEntry]) -> tuple[int, int]:
    """Calls billed beyond the first for a model and prompt, and those before which the provider failed."""
    last: dict[tuple[str | None, str | None], str | None] = {}
    twice = after_fault = 0
    for entry in requests:
        if not entry["billed_nanousd"]:
            continue
        key = entry["model"], entry["prompt"]
        if key in last:
            twice += 1
            after_fault += last[key] is not None
        last[key] = entry["fault"]
    return twice, after_fault
