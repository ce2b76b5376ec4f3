"""What can be done to a job: the part of `Job` that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Self

from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import Services, services
from cascade_batch.domain.money import usd_to_nanousd
from cascade_batch.errors import UsageError


class JobControls:
    """A job by its name, and what can be done to it. Each returns the job itself."""

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

    def resume(self, *, retry_failed: bool = False) -> Self:
        """Go on with what is not done of a paused, cancelled, failed or finished job.

        Args:
            retry_failed: Ask the rows that failed once more.
        """
        from cascade_batch.engine.control import resume_job

        with self._services() as service:
            resume_job(service.engine, self._name, service.publisher())
            service.wake(self._name)
        # Resumed first: on its own, `retry` starts no job that has other things to do.
        return self.retry() if retry_failed else self

    def retry(
        self, *, reason: str | None = None, add_budget: str | int | float | Decimal = 0
    ) -> Self:
        """Ask the rows that failed once more, and no others. Without any, nothing changes, nothing is added.

        A finished job goes on. A paused one stays paused: its method resume() goes on with it.

        Args:
            reason: Only these: `money` (it ran out before they could be asked), `refused` (by the provider),
                `lost` (calls without a known end), `stopped` (their tiers were), or words of the message.
            add_budget: Dollars to add to the budget, for rows that the money did not reach.

        Raises:
            UsageError: It is no amount of dollars; or the job was cancelled or failed with work left, which
                would be done as well (`resume` with `retry_failed` does).

        Examples:
            >>> cascade_batch.job("example").retry().wait(progress=False).errors().empty
            True
        """
        from cascade_batch.client.services import account_name
        from cascade_batch.engine.retry import retry_failed

        add_nanousd = _nanousd(add_budget)
        with self._services() as service:
            retry_failed(
                service.engine,
                self._name,
                service.publisher(),
                reason=reason,
                add_nanousd=add_nanousd,
                actor=account_name(),
            )
            service.wake(self._name)
        return self

    def cancel(self) -> Self:
        """End the job; calls in flight settle, and what is answered stays. `resume` takes it up again.

        Raises:
            UsageError: The job is over already.
        """
        from cascade_batch.engine.control import cancel_job

        with self._services() as service:
            cancel_job(service.engine, self._name)
        return self

    def add_budget(self, usd: str | int | float | Decimal) -> Self:
        """Raise the budget, and go on from where the job stopped.

        Args:
            usd: Dollars to add; a text or a Decimal is taken with all of its digits.

        Raises:
            UsageError: It is no amount of dollars, or nothing.
        """
        from cascade_batch.client.services import account_name
        from cascade_batch.engine.control import raise_budget

        add_nanousd = _nanousd(usd)
        with self._services() as service:
            raise_budget(
                service.engine, self._name, add_nanousd, service.publisher(), actor=account_name()
            )
            service.wake(self._name)
        return self

    @contextmanager
    def _services(self) -> Iterator[Services]:
        with python_words(), services() as service:
            yield service


def _nanousd(usd: str | int | float | Decimal) -> int:
    try:
        return usd_to_nanousd(usd)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
