"""`cascade-batch retry`: ask the rows that failed once more."""

from __future__ import annotations

import shlex

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.next_step import next_step
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import account_name, services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd, usd_to_nanousd
from cascade_batch.errors import UsageError


@click.command(cls=Command)
@job_argument
@click.option("--failed", is_flag=True, help="Ask the rows that failed once more.")
@click.option("--add", metavar="USD", default="0", help="Add these dollars to the budget as well.")
@click.option(
    "--reason",
    metavar="TEXT",
    help="Only rows that failed by this: money, refused, lost, stopped, or words of their message.",
)
def retry(job: str, failed: bool, add: str, reason: str | None) -> None:
    """Ask the rows of a job that failed once more, and no others; a finished job goes on.

    A paused job stays paused, and one that was cancelled or failed with work left is for `resume`. Where no
    row failed for that reason, nothing is changed and nothing added.

    \b
    Examples:
      cascade-batch retry headlines --failed
      cascade-batch retry headlines --failed --reason money --add 0.50
      cascade-batch retry headlines --failed --reason "HTTP 400"
    """
    from cascade_batch.engine.jobs import find_job
    from cascade_batch.engine.retry import retry_failed

    if not failed:
        raise UsageError(
            "It is not said what to ask again.",
            hint=f"For the rows that failed: cascade-batch retry {shlex.quote(job)} --failed",
        )
    try:
        add_nanousd = usd_to_nanousd(add)
    except ValueError as error:
        raise UsageError(f"--add: {error}.", hint="Write dollars, for example 12.50.") from None
    with services() as service:
        retried = retry_failed(
            service.engine,
            job,
            service.publisher(),
            reason=reason,
            add_nanousd=add_nanousd,
            actor=account_name(),
        )
        if not retried.rows:
            with service.engine.connect() as connection:
                state = find_job(connection, job).state
            by = "" if reason is None else " by that"
            say(f"No row of job {job!r} failed{by}: nothing is asked once more.")
            say(next_step(job, state))
            return
        if not retried.is_paused:
            service.wake(job)
    are = "is" if retried.rows == 1 else "are"
    when = " as soon as it goes on" if retried.is_paused else ""
    say(f"{counted(retried.rows, 'row')} of job {job!r} that failed {are} asked once more{when}.")
    if retried.missing_nanousd:
        say(
            f"That may take up to {format_usd(retried.missing_nanousd)} more than is free:"
            f"  cascade-batch budget {shlex.quote(job)} --add USD"
        )
    say(next_step(job, JobState.PAUSED if retried.is_paused else JobState.RUNNING))
