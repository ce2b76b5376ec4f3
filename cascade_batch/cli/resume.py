"""`cascade-batch resume`: go on with a job."""

from __future__ import annotations

import shlex

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
@click.option("--retry-failed", is_flag=True, help="Ask the rows that failed once more.")
def resume(job: str, retry_failed: bool) -> None:
    """Go on with what is not done of a paused, cancelled, failed or finished job.

    \b
    Examples:
      cascade-batch resume headlines
      cascade-batch resume headlines --retry-failed
    """
    from cascade_batch.engine import retry
    from cascade_batch.engine.control import resume_job

    with services() as service:
        publisher = service.publisher()
        # Resumed first: on its own, `retry` starts no job that has other things to do.
        resume_job(service.engine, job, publisher)
        if retry_failed:
            rows = retry.retry_failed(service.engine, job, publisher).rows
            say(f"Rows that failed and are asked once more: {rows:,}.")
        service.wake(job)
    say(f"Job {job!r} goes on with what is not done, and what its money still buys.")
    say(f"Follow it:  cascade-batch watch {shlex.quote(job)}")
