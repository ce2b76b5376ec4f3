"""`cascade-batch delete`: forget a job."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services
from cascade_batch.domain.counting import counted


@click.command(cls=Command)
@job_argument
@click.option("--yes", is_flag=True, help="Delete without asking.")
def delete(job: str, yes: bool) -> None:
    """Delete a job that is over, with its rows, answers, ledger and result view, for good.

    It waits for whoever is reading the tables. If it is broken off, all that can be done to the job is to
    say it again.

    \b
    Examples:
      cascade-batch delete headlines
      cascade-batch delete headlines --yes
    """
    from cascade_batch.engine.control import delete_job
    from cascade_batch.engine.jobs import find_job

    with services() as service:
        with service.engine.connect() as connection:
            rows = find_job(connection, job).rows_total
        if not yes:
            click.confirm(
                f"Delete job {job!r} with its {counted(rows, 'row')} and their answers?",
                abort=True,
                err=True,
            )
        delete_job(service.engine, job)
    say(f"Job {job!r} is deleted.")
