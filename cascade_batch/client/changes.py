"""What a change to a job came to: values that say it, and lead back to the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade_batch.client.progress import usd_text
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState

if TYPE_CHECKING:
    from cascade_batch.client.job import Job
    from cascade_batch.client.waiting import Show


@dataclass(frozen=True, repr=False)
class Change:
    """Something that was done to a job.

    Attributes:
        job: The job.
        status: Its state after it.
    """

    job: Job
    status: JobState

    def wait(self, timeout_s: float | None = None, *, progress: bool | Show = True) -> Job:
        """Wait until the job is over, as its own `wait` does."""
        return self.job.wait(timeout_s, progress=progress)

    def _goes_on(self) -> str:
        if self.status in (JobState.PAUSED, JobState.CANCELLED, JobState.FAILED):
            state = "failed" if self.status is JobState.FAILED else f"is {self.status}"
            return f" The job {state}: job.resume() goes on with it."
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # from IPython
        printer.text(str(self))


@dataclass(frozen=True, repr=False)
class RetriedRows(Change):
    """What a retry came to; `str()` of it is a sentence.

    Attributes:
        rows: How many rows are asked once more. 0: none failed, or none by the reason that was given, and
            nothing was changed.
        added_usd: Dollars that were added to the budget.
        missing_usd: Dollars that are missing from it, should all of them take their worst case.
    """

    rows: int
    added_usd: float
    missing_usd: float

    def __str__(self) -> str:
        if not self.rows:
            return (
                f"No row of job {self.job.name!r} failed, or none by that reason: nothing was changed."
                + self._goes_on()
            )
        are = "is" if self.rows == 1 else "are"
        said = f"{counted(self.rows, 'row')} of job {self.job.name!r} that failed {are} asked once more."
        if self.added_usd:
            said += f" {usd_text(self.added_usd)} were added to the budget."
        if self.missing_usd:
            said += (
                f" That may take up to {usd_text(self.missing_usd)} more than is free:"
                " job.add_budget(usd) adds it."
            )
        return said + self._goes_on()


@dataclass(frozen=True, repr=False)
class AddedBudget(Change):
    """What raising a budget came to; `str()` of it is a sentence or two.

    Attributes:
        added_usd: Dollars that were added.
        budget_usd: The budget now.
        free_usd: What of it is neither spent nor set aside.
        expectation: What the frontier promises for it, in words; None: it says nothing yet. A finished job
            looks for what is worth buying for it, and is over again at once where there is nothing.
    """

    added_usd: float
    budget_usd: float
    free_usd: float
    expectation: str | None

    def __str__(self) -> str:
        said = (
            f"The budget of job {self.job.name!r} is {usd_text(self.budget_usd)} now,"
            f" {usd_text(self.free_usd)} of it free."
        )
        if self.expectation:
            said += f" {self.expectation}"
        return said + self._goes_on()
