"""`audit`: re-adds the ledger and holds it against answers, verdicts, leases and rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.money import nanousd_to_usd
from cascade_batch.ledger.account import Balance, read_balance

_ENTRY_SUMS = """
SELECT coalesce(sum(budget_nanousd), 0)::bigint, coalesce(sum(spent_nanousd), 0)::bigint,
       coalesce(sum(reserved_nanousd), 0)::bigint, coalesce(sum(at_risk_nanousd), 0)::bigint,
       coalesce(sum(overrun_nanousd), 0)::bigint
  FROM cascade_store.entry WHERE job_id = :job
"""
_FACTS = """
SELECT (SELECT coalesce(sum(cost_nanousd), 0)::bigint
          FROM cascade_store.answer WHERE job_id = :job) AS answers_cost,
       (SELECT coalesce(sum(cost_nanousd), 0)::bigint
          FROM cascade_store.verdict WHERE job_id = :job) AS verdicts_cost,
       (SELECT coalesce(sum(reserved_nanousd), 0)::bigint
          FROM cascade_store.chunk WHERE job_id = :job) AS leases_reserved,
       (SELECT coalesce(sum(lent_nanousd), 0)::bigint
          FROM cascade_store.chunk WHERE job_id = :job) AS leases_lent,
       (SELECT coalesce(sum(amount_nanousd), 0)::bigint
          FROM cascade_store.lost_call WHERE job_id = :job AND released_at IS NULL) AS lost,
       (SELECT coalesce(sum(answers), 0)::bigint
          FROM cascade_store.job_tier WHERE job_id = :job) AS counted_answers,
       (SELECT count(*) FROM cascade_store.answer WHERE job_id = :job) AS answers,
       (SELECT coalesce(sum(verdicts), 0)::bigint
          FROM cascade_store.job_tier WHERE job_id = :job) AS counted_verdicts,
       (SELECT count(text) FROM cascade_store.verdict WHERE job_id = :job) AS verdicts,
       (SELECT coalesce(sum(first_answers), 0)::bigint
          FROM cascade_store.job_tier WHERE job_id = :job) AS counted_rows,
       (SELECT count(DISTINCT row_no) FROM cascade_store.answer WHERE job_id = :job) AS answered_rows,
       (SELECT count(*) FROM cascade_store.row WHERE job_id = :job) AS rows,
       (SELECT count(*) FROM cascade_store.answer a WHERE a.job_id = :job AND NOT EXISTS (
           SELECT 1 FROM cascade_store.row r
            WHERE r.job_id = :job AND r.row_no = a.row_no)) AS answers_without_row,
       (SELECT count(*) FROM cascade_store.verdict v WHERE v.job_id = :job AND NOT EXISTS (
           SELECT 1 FROM cascade_store.answer a
            WHERE a.job_id = :job AND a.row_no = v.row_no AND a.tier_no = v.tier_no
              AND a.sample_no = 0)) AS verdicts_without_answer,
       (SELECT count(*) FROM cascade_store.chunk
         WHERE job_id = :job AND state <> 'done') AS open_chunks,
       (SELECT count(*) FROM cascade_store.chunk
         WHERE job_id = :job AND state = 'leased') AS leases,
       (SELECT count(*) FROM cascade_store.chunk
         WHERE job_id = :job AND state = 'leased'
           AND lease_expires_at < clock_timestamp() - make_interval(secs => :late_s)) AS forgotten,
       (SELECT count(*) FROM cascade_store.choice c
         WHERE c.job_id = :job AND c.tier_no IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM cascade_store.answer a
            WHERE a.job_id = :job AND a.row_no = c.row_no AND a.tier_no = c.tier_no
              AND a.sample_no = c.sample_no)) AS choices_without_answer,
       (SELECT count(*) FROM cascade_store.job_tier t
         WHERE t.job_id = :job AND t.spent_nanousd <> (
               SELECT coalesce(sum(a.cost_nanousd), 0) FROM cascade_store.answer a
                WHERE a.job_id = :job AND a.tier_no = t.tier_no) + (
               SELECT coalesce(sum(v.cost_nanousd), 0) FROM cascade_store.verdict v
                WHERE v.job_id = :job AND v.judge_tier_no = t.tier_no)) AS tiers_that_differ,
       (SELECT count(*) FROM cascade_store.choice WHERE job_id = :job AND tier_no IS NULL) AS failed_rows,
       (SELECT count(*) FROM cascade_store.follower WHERE job_id = :job) AS followers,
       (SELECT rows_duplicate FROM cascade_store.job WHERE job_id = :job) AS counted_followers,
       (SELECT coalesce(sum(cached), 0)::bigint
          FROM cascade_store.job_tier WHERE job_id = :job) AS counted_cached,
       (SELECT saved_nanousd FROM cascade_store.job WHERE job_id = :job) AS counted_saved,
       (SELECT count(saved_nanousd) FROM cascade_store.answer WHERE job_id = :job) AS cached,
       (SELECT coalesce(sum(saved_nanousd), 0)::bigint
          FROM cascade_store.answer WHERE job_id = :job) AS saved,
       (SELECT count(*) FROM cascade_store.answer
         WHERE job_id = :job AND saved_nanousd IS NOT NULL AND cost_nanousd <> 0) AS paid_twice
"""
_LATE_S = 60.0
"""A lease that ran out so long ago should have been taken back."""
_UNSETTLED = """
SELECT count(*) FROM cascade_store.row r WHERE r.job_id = :job AND NOT EXISTS (
    SELECT 1 FROM cascade_store.choice c WHERE c.job_id = :job AND c.row_no = r.row_no)
"""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audit found. `differences` is empty when all is well."""

    balance: Balance
    rows: int
    answers: int
    verdicts: int
    entries: int
    differences: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences


def audit_job(
    connection: sa.Connection, job_id: int, *, bill_nanousd: int | None = None
) -> AuditReport:
    """Hold a job's balance against its entries, answers, verdicts, lost calls, leases and rows.

    Read in one snapshot, so that a running job can be audited as well.

    Args:
        bill_nanousd: What the providers billed for it, if that is known: it has to be within the budget, and
            covered by what is spent, overrun, at risk and reserved.
    """
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    job = {"job": job_id}
    state, rows_total, rows_failed = connection.execute(
        sa.text("SELECT state, rows_total, rows_failed FROM cascade_store.job WHERE job_id = :job"),
        job,
    ).one()
    balance = read_balance(connection, job_id)
    sums = connection.execute(sa.text(_ENTRY_SUMS), job).one()
    facts = connection.execute(sa.text(_FACTS), job | {"late_s": _LATE_S}).one()
    entries = connection.execute(
        sa.text("SELECT count(*) FROM cascade_store.entry WHERE job_id = :job"), job
    ).scalar_one()
    differences = [
        f"{what}: {_usd(a)} against {_usd(b)}"
        for what, a, b in _amounts(balance, facts, sums)
        if a != b
    ]
    differences += [
        f"{what}: {a} against {b}" for what, a, b in _counts(facts, rows_total) if a != b
    ]
    differences += _against_budget(balance, bill_nanousd)
    if state == "finished":
        differences += _of_finished(connection, job_id, balance, facts, rows_failed)
    if state in ("finished", "cancelled", "failed"):
        if balance.reserved_nanousd and not facts.leases:
            differences.append("money is reserved although nobody works on the job")
        if facts.forgotten:
            differences.append(
                f"{facts.forgotten} leases ran out more than {_LATE_S:.0f} s ago and were not taken back"
            )
    return AuditReport(balance, facts.rows, facts.answers, facts.verdicts, entries, differences)


def _amounts(balance: Balance, facts: Any, sums: Any) -> list[tuple[str, int, int]]:
    """Nano-dollars that have to be equal: in words, and both sides."""
    budget, spent, reserved, at_risk, overrun = sums
    return [
        ("budget against the entries", balance.budget_nanousd, budget),
        ("spent against the entries", balance.spent_nanousd, spent),
        ("reserved against the entries", balance.reserved_nanousd, reserved),
        ("at risk against the entries", balance.at_risk_nanousd, at_risk),
        ("overrun against the entries", balance.overrun_nanousd, overrun),
        (
            "spent and overrun against the costs of answers and verdicts",
            balance.spent_nanousd + balance.overrun_nanousd,
            facts.answers_cost + facts.verdicts_cost,
        ),
        ("reserved against the leases", balance.reserved_nanousd, facts.leases_reserved),
        ("lent by the ring fence against the leases", balance.lent_nanousd, facts.leases_lent),
        ("at risk against the lost calls", balance.at_risk_nanousd, facts.lost),
        ("saved against what answers taken over had cost", facts.counted_saved, facts.saved),
    ]


def _counts(facts: Any, rows_total: int) -> list[tuple[str, int, int]]:
    """Numbers of things that have to be equal, in the same way."""
    return [
        ("tiers whose spending is not their answers' costs", facts.tiers_that_differ, 0),
        ("answers counted against answers stored", facts.counted_answers, facts.answers),
        ("verdicts counted against verdicts stored", facts.counted_verdicts, facts.verdicts),
        (
            "rows counted as answered against rows with answers",
            facts.counted_rows,
            facts.answered_rows,
        ),
        ("rows of the job against rows stored", rows_total, facts.rows),
        ("duplicates counted against those stored", facts.counted_followers, facts.followers),
        ("answers taken over against those stored", facts.counted_cached, facts.cached),
        ("answers that were taken over and cost something", facts.paid_twice, 0),
        ("answers without a row", facts.answers_without_row, 0),
        ("verdicts without an answer", facts.verdicts_without_answer, 0),
    ]


def _against_budget(balance: Balance, bill_nanousd: int | None) -> list[str]:
    committed = balance.spent_nanousd + balance.at_risk_nanousd + balance.reserved_nanousd
    budget = balance.budget_nanousd
    differences = []
    if committed > budget:
        differences.append(
            f"spent, at risk and reserved are {_usd(committed)}, above the budget of {_usd(budget)}"
        )
    if bill_nanousd is None:
        return differences
    covered = committed + balance.overrun_nanousd
    if bill_nanousd > covered:
        differences.append(
            f"the bill is {_usd(bill_nanousd)}, above what the ledger knows of: {_usd(covered)}"
        )
    if bill_nanousd > budget:
        differences.append(f"the bill is {_usd(bill_nanousd)}, above the budget of {_usd(budget)}")
    return differences


def _usd(nanousd: int) -> str:
    """Dollars with all their digits: a difference may be the last one."""
    return f"${nanousd_to_usd(nanousd):f}"


def _of_finished(
    connection: sa.Connection, job_id: int, balance: Balance, facts: Any, rows_failed: int
) -> list[str]:
    """Each row is settled once, and nothing is left over."""
    without = connection.execute(sa.text(_UNSETTLED), {"job": job_id}).scalar_one()
    checks = [
        (without, f"{without} rows are neither answered nor failed"),
        (
            facts.open_chunks,
            f"{facts.open_chunks} chunks are open although the job is finished",
        ),
        (
            rows_failed != facts.failed_rows,
            f"rows counted as failed: {rows_failed} against {facts.failed_rows} without an answer",
        ),
        (
            facts.choices_without_answer,
            f"the answers that were chosen for {facts.choices_without_answer} rows are not there",
        ),
        (
            balance.ring_fence_nanousd,
            f"{_usd(balance.ring_fence_nanousd)} are fenced off although the job is finished",
        ),
    ]
    return [said for is_wrong, said in checks if is_wrong]
