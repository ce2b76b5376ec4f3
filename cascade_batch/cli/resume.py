"""`cascade-batch resume`: go on with a job."""

from __future__ import annotations

import shlex

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.next_step import next_step
from cascade_batch.cli.options import job_argument
from cascade_batch.client.progress import rest_text
from cascade_batch.client.services import services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState


@click.command(cls=Command)
@job_argument
@click.option("--retry-failed", is_flag=True, help="Ask the rows that failed once more.")
def resume(job: str, retry_failed: bool) -> None:
    """Go on with what is not done of a paused, cancelled, failed or finished job.

    A finished job for which more of the same would be decided stays as it is, and that is said.

    \b
    Examples:
      cascade-batch resume headlines
      cascade-batch resume headlines --retry-failed
    """
    from cascade_batch.engine import retry
    from cascade_batch.engine.control import resume_job
    from cascade_batch.engine.status import job_status

    with services() as service:
        publisher = service.publisher()
        # Resumed first: on its own, `retry` starts no job that has other things to do.
        resumed = resume_job(service.engine, job, publisher)
        is_left = resumed.state is not JobState.FINISHED
        if retry_failed:
            rows = retry.retry_failed(service.engine, job, publisher).rows
            say(f"Rows that failed and are asked once more: {rows:,}.")
            is_left = is_left or rows > 0
        if is_left:
            service.wake(job)
        with service.engine.connect() as connection:
            found = job_status(connection, job)
    if is_left:
        say(f"Job {job!r} goes on with what is not done, and what its money still buys.")
        say(next_step(job, JobState.RUNNING))
        return
    say(f"Job {job!r} is finished, and nothing is left to do.")
    if rest := rest_text(found):
        say(f"{rest}.")
    if found["rows"]["unfunded"]:
        without = counted(found["rows"]["unfunded"], "row has", "rows have")
        say(
            f"{without} no answer for want of money:  cascade-batch budget {shlex.quote(job)} --add USD"
        )
    say(next_step(job, JobState.FINISHED))
