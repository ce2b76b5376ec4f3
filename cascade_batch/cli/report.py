"""`cascade-batch report`: a job's story on one page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.expectation import next_money_text
from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.cli.services import services

if TYPE_CHECKING:
    import sqlalchemy as sa


@click.command(cls=Command)
@job_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the page here; - is standard output. By default JOB.html.",
)
def report(job: str, output: Path | None) -> None:
    """Write a job's report: one HTML page with what was bought, for how much, and why.

    The page holds everything that it shows and loads nothing, so that it can be sent to others and printed.
    It is made from what is known now: of a running job as well.
    """
    page, name = _page(job)
    if str(output) == "-":
        click.echo(page)
        return
    from cascade_batch.results.files import whole_file

    path = output or Path(re.sub(r"[^\w.-]+", "-", name).strip(".-") + ".html")
    with whole_file(path, "the job is") as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    say(f"The report is in {path}.")


def _page(job: str) -> tuple[str, str]:
    from cascade_batch.engine.jobs import find_job
    from cascade_batch.engine.status import job_status
    from cascade_batch.results.report import Subject, read_facts, render_page

    with services() as service:
        frontier = _frontier(service.engine, job)
        with service.engine.connect() as connection, connection.begin():
            import sqlalchemy as sa

            connection.execute(
                sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            )
            found = find_job(connection, job)
            status = job_status(connection, job)
            facts = read_facts(connection, found.job_id)
    more = None
    if frontier is not None and frontier["policy"] == "auto":
        more = next_money_text(frontier, status["name"], status["budget_nanousd"])
    return render_page(Subject(status, frontier, more), facts), status["name"]


def _frontier(engine: sa.Engine, job: str) -> dict[str, Any] | None:
    """The frontier; None where there is too little to draw one from."""
    from cascade_batch.engine.frontier import job_frontier

    found = job_frontier(engine, job)
    return found if len(found["points"]) > 1 else None
