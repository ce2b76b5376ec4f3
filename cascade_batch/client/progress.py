"""How far a job is, as a value: for programs, for a line of text, for a table in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cascade_batch.client.looking import Sight
from cascade_batch.client.pace import Pace, left_words, rate_text
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd


@dataclass(frozen=True, slots=True)
class TierProgress:
    """What one tier has done for a job.

    Attributes:
        name: The tier.
        model: The model that it asks.
        calls: Calls sent.
        answers: Answers that came back and were kept.
        escalated: Rows that came to it after another tier had answered them.
        spent_usd: What its calls cost, in dollars.
        latency_ms_p50: Half of its calls took no longer, in milliseconds; None: there was none.
        latency_ms_p95: 95 % of its calls took no longer.
        stopped: Why nothing more is sent to it; None: it is at work.
    """

    name: str
    model: str
    calls: int
    answers: int
    escalated: int
    spent_usd: float
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is at one moment. `str()` of it is one line; a notebook shows a table.

    Attributes:
        job: The job's name.
        status: Its state.
        reason: Why it is paused, cancelled or failed; of a finished job, why money is left; else None.
        rows_total: Its rows.
        rows_answered: Rows that have an answer.
        rows_failed: Rows that no tier could answer.
        rows_unfunded: Rows without an answer that there was no money for.
        budget_usd: What it may spend, in dollars.
        spent_usd: What its answers cost.
        reserved_usd: What is set aside for calls in flight.
        at_risk_usd: What calls whose end is unknown may have cost.
        overrun_usd: What providers billed beyond the worst case that they declared.
        saved_usd: What answers had cost that were there already, and were not bought again.
        quality: Expected share of right answers over all rows, calibrated, from 0 to 1; None: unknown.
        labels: Where the word on answers comes from: check, gold, judge or agreement; None: not planned yet.
        tiers: What each tier did, cheap to dear.
        created_at: When it was submitted.
        started_at: When its first call was prepared; None: not yet.
        finished_at: When it was over; None: it is not.
        waits_for: What a job at work waits for that has not moved for a minute; empty: it moves.
        rows_unfit: Of a job that has finished, rows whose final answer does not fit the declared output.
        rows_per_s: Rows answered or failed per second, in the last half minute of a wait; None: not known.
        left_s: Seconds for the calls that are planned, at the pace of that wait; None: not known.
        reading: Whether rows of its data set are yet to come; of a job that is over, whether they never did.
        rest: How much money a finished job has left, and why; None: not finished, nothing left, or not known.
    """

    job: str
    status: JobState
    reason: str | None
    rows_total: int
    rows_answered: int
    rows_failed: int
    rows_unfunded: int
    budget_usd: float
    spent_usd: float
    reserved_usd: float
    at_risk_usd: float
    overrun_usd: float
    quality: float | None
    labels: str | None
    tiers: tuple[TierProgress, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    waits_for: tuple[str, ...] = ()
    rows_per_s: float | None = None
    left_s: float | None = None
    saved_usd: float = 0.0
    rows_unfit: int = 0
    reading: bool = False
    rest: str | None = None

    @property
    def rows_pending(self) -> int:
        """Rows that are neither answered nor failed."""
        return max(self.rows_total - self.rows_answered - self.rows_failed, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to the job by itself."""
        return self.status.is_over

    def __str__(self) -> str:
        failed = f", {self.rows_failed:,} failed" if self.rows_failed else ""
        parts = [
            f"{self.job}: {self.status}",
            f"{self.rows_answered:,} of {self.rows_total:,} rows answered{failed}",
            f"{usd_text(self.spent_usd)} of {usd_text(self.budget_usd)} spent",
        ]
        for amount_usd, what in (
            (self.reserved_usd, "reserved"),
            (self.at_risk_usd, "at risk"),
            (self.overrun_usd, "overrun"),
            (self.saved_usd, "saved"),
        ):
            if amount_usd:
                parts.append(f"{usd_text(amount_usd)} {what}")
        if self.is_over and self.rows_unfit:
            parts.append(unfit_text(self.rows_unfit))
        if self.quality is not None:
            parts.append(f"quality {self.quality:.3f}")
        if self.reason and self.status is JobState.RUNNING:
            parts.append(self.reason)
        return "; ".join([*parts, *self.pace_texts()])

    def pace_texts(self) -> list[str]:
        """How fast it goes and how long it may take, as people read it; or what it waits for."""
        texts = [f"waits: {what}" for what in self.waits_for]
        if self.status is JobState.RUNNING and self.rows_total and not self.rows_pending:
            texts.append("all rows done; better answers are being bought")
        if self.rows_per_s and not self.is_over:
            texts.append(f"{rate_text(self.rows_per_s)} rows/s")
        if self.left_s is not None and not self.is_over:
            texts.append(left_words(self.left_s))
        return texts

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # from IPython
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from cascade_batch.client.markup import progress_html

        return progress_html(self)


def progress_of(sight: Sight, pace: Pace | None = None) -> Progress:
    """The value of what was seen of a job.

    Args:
        pace: What was seen of it before; None: it was not watched.
    """
    status, outlook = sight
    rows = status["rows"]
    standstill = status["standstill"]
    return Progress(
        job=status["name"],
        status=JobState(status["status"]),
        reason=status["reason"],
        rows_total=rows["total"],
        rows_answered=rows["answered"],
        rows_failed=rows["failed"],
        rows_unfunded=rows["unfunded"],
        budget_usd=status["budget_usd"],
        spent_usd=status["spent_usd"],
        reserved_usd=status["reserved_usd"],
        at_risk_usd=status["at_risk_usd"],
        saved_usd=status["saved_usd"],
        rows_unfit=status["rows_unfit"],
        overrun_usd=status["overrun_usd"],
        quality=status["quality"],
        labels=status["labels"],
        tiers=tuple(_tier(name, tier) for name, tier in status["tiers"].items()),
        created_at=datetime.fromisoformat(status["created_at"]),
        started_at=_time(status["started_at"]),
        finished_at=_time(status["finished_at"]),
        waits_for=tuple(standstill["reasons"]) if standstill else (),
        rows_per_s=(pace.rows_per_s or None) if pace else None,
        left_s=pace.left_s(status, outlook) if pace else None,
        reading=status["reading"],
        rest=rest_text(status),
    )


def rest_text(status: Mapping[str, Any]) -> str | None:
    """How much money a finished job has left, and why it bought nothing more for it; None: it is at work, has
    nothing left, or was finished by a version that did not say.

    Args:
        status: As `job_status` gives it.
    """
    free = status["budget_nanousd"] - sum(
        status[f"{what}_nanousd"] for what in ("spent", "reserved", "at_risk", "overrun")
    )
    is_reason = status["status"] == JobState.FINISHED and not status["deleting"]
    if not is_reason or not status["reason"] or free <= 0:
        return None
    return f"{format_usd(free)} is left: {status['reason']}"


def unfit_text(rows: int) -> str:
    """What is to be said of final answers that are of no use."""
    what, whose = ("answer does", "its") if rows == 1 else ("answers do", "their")
    return f"{rows:,} {what} not fit the output asked for: {whose} value is null"


def rows_text(progress: Progress) -> str:
    """How many rows there are of which kind."""
    failed = f", {progress.rows_failed:,} failed" if progress.rows_failed else ""
    return f"{progress.rows_answered:,} of {progress.rows_total:,} answered{failed}"


def money_text(progress: Progress) -> str:
    """What became of the budget."""
    text = f"{usd_text(progress.spent_usd)} of {usd_text(progress.budget_usd)} spent"
    for amount_usd, what in (
        (progress.reserved_usd, "reserved"),
        (progress.at_risk_usd, "at risk"),
        (progress.overrun_usd, "billed beyond it"),
        (progress.saved_usd, "saved"),
    ):
        text += f", {usd_text(amount_usd)} {what}" if amount_usd else ""
    return text


def usd_text(usd: float) -> str:
    """Dollars as people read them."""
    return format_usd(round(usd * 10**9))


def _tier(name: str, tier: Mapping[str, Any]) -> TierProgress:
    return TierProgress(
        name=name,
        model=tier["model"],
        calls=tier["calls"],
        answers=tier["answers"],
        escalated=tier["escalated"],
        spent_usd=tier["spent_usd"],
        latency_ms_p50=tier["latency_ms_p50"],
        latency_ms_p95=tier["latency_ms_p95"],
        stopped=tier["stopped"],
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
