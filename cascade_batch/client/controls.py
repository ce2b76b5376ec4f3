"""What can be done to a job: the part of `Job` that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Self, cast

from cascade_batch.client.changes import AddedBudget, RetriedRows
from cascade_batch.client.known_arguments import known_arguments
from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import Services, services
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import NANOUSD_PER_USD, usd_to_nanousd
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    from cascade_batch.client.job import Job


class JobControls:
    """A job by its name, and what can be done to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def pause(self) -> Self:
        """Send nothing more, for now; calls in flight settle.

        Raises:
            UsageError: The job is not at work.
        """
        from cascade_batch.engine.control import pause_job

        with self._services() as service:
            pause_job(service.engine, self._name)
        return self

    @known_arguments()
    def resume(self, *, retry_failed: bool = False) -> Self:
        """Go on with what is not done of a paused, cancelled, failed or finished job.

        Args:
            retry_failed: Ask the rows that failed once more.
        """
        from cascade_batch.engine.control import resume_job

        with self._services() as service:
            resume_job(service.engine, self._name, service.publisher())
            service.wake(self._name)
        if retry_failed:
            # Resumed first: on its own, `retry` starts no job that has other things to do.
            self.retry()
        return self

    @known_arguments()
    def retry(
        self, *, reason: str | None = None, add_budget: str | int | float | Decimal = 0
    ) -> RetriedRows:
        """Ask the rows that failed once more, and no others. Without any, nothing changes, nothing is added.

        A finished job goes on. A paused one stays paused: its method resume() goes on with it.

        Args:
            reason: Only these: `money` (it ran out before they could be asked), `refused` (by the provider),
                `lost` (calls without a known end), `stopped` (their tiers were), or words of the message.
            add_budget: Dollars to add to the budget, for rows that the money did not reach.

        Returns:
            What came of it: `rows`, how many are asked once more (0: nothing was done), and what it takes;
            `str()` of it is a sentence, and its `wait` waits for the job.

        Raises:
            UsageError: It is no amount of dollars; or the job was cancelled or failed with work left, which
                would be done as well (`resume` with `retry_failed` does).

        Examples:
            >>> retried = cascade_batch.job("example").retry()
            >>> retried.rows
            0
            >>> retried.wait(progress=False).errors().empty
            True
        """
        from cascade_batch.client.services import account_name
        from cascade_batch.engine.retry import retry_failed

        add_nanousd = nanousd(add_budget)
        with self._services() as service:
            retried = retry_failed(
                service.engine,
                self._name,
                service.publisher(),
                reason=reason,
                add_nanousd=add_nanousd,
                actor=account_name(),
            )
            if retried.rows:
                service.wake(self._name)
            status = self._state(service)
        return RetriedRows(
            cast("Job", self),
            status,
            rows=retried.rows,
            added_usd=add_nanousd / NANOUSD_PER_USD if retried.rows else 0.0,
            missing_usd=retried.missing_nanousd / NANOUSD_PER_USD,
        )

    def cancel(self) -> Self:
        """End the job; calls in flight settle, and what is answered stays. `resume` takes it up again.

        Raises:
            UsageError: The job is over already.
        """
        from cascade_batch.engine.control import cancel_job

        with self._services() as service:
            cancel_job(service.engine, self._name)
        return self

    def add_budget(self, usd: str | int | float | Decimal) -> AddedBudget:
        """Raise the budget, and go on from where the job stopped.

        A finished job goes on, and is over again at once where nothing is worth buying. One that is paused,
        cancelled or failed stays so: its method resume() goes on with it.

        Args:
            usd: Dollars to add; a text or a Decimal is taken with all of its digits.

        Returns:
            What came of it: the budget now, what of it is free, what the frontier promises for it; `str()` of
            it is a sentence or two, and its `wait` waits for the job.

        Raises:
            UsageError: It is no amount of dollars, or nothing.
        """
        from cascade_batch.client.expectation import added_money_text
        from cascade_batch.client.services import account_name
        from cascade_batch.engine.control import raise_budget
        from cascade_batch.engine.status import job_status

        add_nanousd = nanousd(usd)
        with self._services() as service:
            balance = raise_budget(
                service.engine, self._name, add_nanousd, service.publisher(), actor=account_name()
            )
            with service.engine.connect() as connection:
                seen = job_status(connection, self._name)
            service.wake(self._name)
        frontier = seen["frontier"]
        now = balance.budget_nanousd
        is_told = frontier is not None and frontier["policy"] == "auto"
        return AddedBudget(
            cast("Job", self),
            JobState(seen["status"]),
            added_usd=add_nanousd / NANOUSD_PER_USD,
            budget_usd=now / NANOUSD_PER_USD,
            free_usd=balance.free_nanousd / NANOUSD_PER_USD,
            expectation=added_money_text(frontier, now - add_nanousd, now) if is_told else None,
        )

    def _state(self, service: Services) -> JobState:
        from cascade_batch.engine.jobs import find_job

        with service.engine.connect() as connection:
            return find_job(connection, self._name).state

    @contextmanager
    def _services(self) -> Iterator[Services]:
        with python_words(), services() as service:
            yield service


def nanousd(usd: str | int | float | Decimal) -> int:
    """An amount of dollars, in nano-dollars.

    Raises:
        UsageError: It is none.
    """
    try:
        return usd_to_nanousd(usd)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
