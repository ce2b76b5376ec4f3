"""`audit`: re-adds the ledger and holds it against answers, verdicts, leases and rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

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
         WHERE job_id = :job AND state = 'leased') AS leases
"""
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
    state, rows_total = connection.execute(
        sa.text("SELECT state, rows_total FROM cascade_store.job WHERE job_id = :job"), job
    ).one()
    balance = read_balance(connection, job_id)
    budget, spent, reserved, at_risk, overrun = connection.execute(sa.text(_ENTRY_SUMS), job).one()
    facts = connection.execute(sa.text(_FACTS), job).one()
    entries = connection.execute(
        sa.text("SELECT count(*) FROM cascade_store.entry WHERE job_id = :job"), job
    ).scalar_one()
    over = state in ("finished", "cancelled", "failed")
    checks = [
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
        ("at risk against the lost calls", balance.at_risk_nanousd, facts.lost),
        ("answers counted against answers stored", facts.counted_answers, facts.answers),
        ("verdicts counted against verdicts stored", facts.counted_verdicts, facts.verdicts),
        (
            "rows counted as answered against rows with answers",
            facts.counted_rows,
            facts.answered_rows,
        ),
        ("rows of the job against rows stored", rows_total, facts.rows),
        ("answers without a row", facts.answers_without_row, 0),
        ("verdicts without an answer", facts.verdicts_without_answer, 0),
    ]
    differences = [f"{what}: {a} against {b}" for what, a, b in checks if a != b]
    committed = balance.spent_nanousd + balance.at_risk_nanousd + balance.reserved_nanousd
    if committed > balance.budget_nanousd:
        differences.append(
            f"spent, at risk and reserved are {committed}, above the budget"
            f" of {balance.budget_nanousd}"
        )
    if bill_nanousd is not None:
        covered = committed + balance.overrun_nanousd
        if bill_nanousd > covered:
            differences.append(
                f"the bill is {bill_nanousd}, above what the ledger knows of: {covered}"
            )
        if bill_nanousd > balance.budget_nanousd:
            differences.append(
                f"the bill is {bill_nanousd}, above the budget of {balance.budget_nanousd}"
            )
    if state == "finished":
        without = connection.execute(sa.text(_UNSETTLED), job).scalar_one()
        if without:
            differences.append(f"{without} rows are neither answered nor failed")
        if facts.open_chunks:
            differences.append(f"{facts.open_chunks} chunks are open although the job is finished")
    if over and balance.reserved_nanousd and not facts.leases:
        differences.append("money is reserved although nobody works on the job")
    return AuditReport(balance, facts.rows, facts.answers, facts.verdicts, entries, differences)
