"""`cascade-batch cancel`: end a job."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
def cancel(job: str) -> None:
    """End a job; calls in flight settle, and what is answered stays. `resume` takes it up again.

    \b
    Example:
      cascade-batch cancel headlines
    """
    from cascade_batch.engine.control import cancel_job

    with services() as service:
        cancel_job(service.engine, job)
    say(f"Job {job!r} is cancelled; calls in flight settle, and what is answered stays.")
