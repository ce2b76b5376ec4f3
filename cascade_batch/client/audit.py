"""What an audit found, as a value: for programs, for lines of text, for a table in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade_batch.client.progress import usd_text
from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import NANOUSD_PER_USD

if TYPE_CHECKING:
    from cascade_batch.ledger import AuditReport, LostMoney


@dataclass(frozen=True, slots=True)
class AtRisk:
    """Calls to one tier whose end nobody knows, for one reason.

    Attributes:
        tier: The tier.
        reason: Why nobody knows.
        calls: How many calls.
        usd: Their worst case in dollars, which counts against the budget.
    """

    tier: str
    reason: str
    calls: int
    usd: float


@dataclass(frozen=True, slots=True)
class Audit:
    """A job's ledger, added up again. `str()` of it is OK or what differs; a notebook shows a table.

    Attributes:
        job: The job's name.
        differences: What does not agree, a sentence each; empty: everything does.
        rows: Rows stored.
        answers: Answers stored.
        verdicts: Verdicts of a judge that are stored.
        entries: Entries of the ledger.
        budget_usd: What it may spend, in dollars.
        spent_usd: What its answers and verdicts cost.
        reserved_usd: What is set aside for calls in flight.
        at_risk_usd: What calls whose end is unknown may have cost.
        overrun_usd: What providers billed beyond the worst case that they declared.
        at_risk: Whose calls those are, and why, the most money first.
    """

    job: str
    differences: list[str]
    rows: int
    answers: int
    verdicts: int
    entries: int
    budget_usd: float
    spent_usd: float
    reserved_usd: float
    at_risk_usd: float
    overrun_usd: float
    at_risk: tuple[AtRisk, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences

    def __str__(self) -> str:
        return "\n".join(f"{word}: {text}" for word, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """What there is to say: OK, DIFFERS or AT RISK, and what."""
        said = [("DIFFERS", difference) for difference in self.differences]
        if self.is_ok:
            verdicts = f" and {counted(self.verdicts, 'verdict')}" if self.verdicts else ""
            entries = counted(self.entries, "entry", "entries")
            answers = f"{counted(self.answers, 'answer')}{verdicts}"
            text = f"{entries}, {answers} to {counted(self.rows, 'row')};"
            money = f"{usd_text(self.spent_usd)} of {usd_text(self.budget_usd)} spent."
            said.append(("OK", f"{text} {money}"))
        for one in self.at_risk:
            calls = counted(one.calls, "call")
            said.append(("AT RISK", f"{usd_text(one.usd)} for {calls} to {one.tier}: {one.reason}"))
        return said

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # from IPython
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from cascade_batch.client.markup import audit_html

        return audit_html(self)


def audit_of(name: str, report: AuditReport, lost: Sequence[LostMoney]) -> Audit:
    """The value of what was found."""
    balance = report.balance
    return Audit(
        job=name,
        differences=report.differences,
        rows=report.rows,
        answers=report.answers,
        verdicts=report.verdicts,
        entries=report.entries,
        budget_usd=balance.budget_nanousd / NANOUSD_PER_USD,
        spent_usd=balance.spent_nanousd / NANOUSD_PER_USD,
        reserved_usd=balance.reserved_nanousd / NANOUSD_PER_USD,
        at_risk_usd=balance.at_risk_nanousd / NANOUSD_PER_USD,
        overrun_usd=balance.overrun_nanousd / NANOUSD_PER_USD,
        at_risk=tuple(
            AtRisk(one.tier, one.reason, one.calls, one.amount_nanousd / NANOUSD_PER_USD)
            for one in lost
        ),
    )
