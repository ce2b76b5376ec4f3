"""`cascade-batch pause`: hold a job."""

from __future__ import annotations

import shlex

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
def pause(job: str) -> None:
    """Send nothing more for a job; calls in flight settle. `resume` goes on.

    \b
    Example:
      cascade-batch pause headlines
    """
    from cascade_batch.engine.control import pause_job

    with services() as service:
        pause_job(service.engine, job)
    say(
        f"Job {job!r} is paused; calls in flight settle.\nGo on:  cascade-batch resume {shlex.quote(job)}"
    )
