"""`cascade-batch errors`: rows that failed."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
@json_option
@click.option("--limit", type=click.IntRange(1), help="Show only so many rows.")
def errors(job: str, as_json: bool, limit: int | None) -> None:
    """Show the rows of a job that failed, and why."""
    from itertools import islice

    from cascade_batch.engine.jobs import find_job
    from cascade_batch.results import failed_rows

    with services() as service, service.engine.connect() as connection:
        found = find_job(connection, job)
        rows = list(islice(failed_rows(connection, found.job_id), limit))
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    if not rows:
        say(f"No row of job {job!r} failed.")
        return
    print_table(
        ["Row", "custom_id", "Line", "Error"],
        [[str(r.row_no), r.custom_id, str(r.line_no), r.error or ""] for r in rows],
        right="r r ",
    )
