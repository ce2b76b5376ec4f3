"""`cascade-batch budget`: raise a job's budget."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.next_step import next_step
from cascade_batch.cli.options import job_argument
from cascade_batch.client.expectation import added_money_text
from cascade_batch.client.services import account_name, services
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd, usd_to_nanousd
from cascade_batch.errors import UsageError


@click.command(cls=Command)
@job_argument
@click.option("--add", metavar="USD", required=True, help="Add these dollars to the budget.")
def budget(job: str, add: str) -> None:
    """Raise a job's budget; a finished job goes on from where it stopped.

    One that is paused, cancelled or has failed waits for `resume`.

    \b
    Example:
      cascade-batch budget headlines --add 2.50
    """
    from cascade_batch.engine.control import raise_budget
    from cascade_batch.engine.status import job_status

    try:
        add_nanousd = usd_to_nanousd(add)
    except ValueError as error:
        raise UsageError(f"--add: {error}.", hint="Write dollars, for example 12.50.") from None
    with services() as service:
        balance = raise_budget(
            service.engine, job, add_nanousd, service.publisher(), actor=account_name()
        )
        with service.engine.connect() as connection:
            found = job_status(connection, job)
        service.wake(job)
    frontier = found["frontier"]
    say(
        f"The budget of job {job!r} is {format_usd(balance.budget_nanousd)} now,"
        f" {format_usd(balance.free_nanousd)} of it free."
    )
    if frontier is not None and frontier["policy"] == "auto":
        before = balance.budget_nanousd - add_nanousd
        say(added_money_text(frontier, before, balance.budget_nanousd))
    say(next_step(job, JobState(found["status"])))
