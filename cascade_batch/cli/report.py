"""`cascade-batch report`: a job's story on one page."""

from __future__ import annotations

from pathlib import Path

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the page to this .html file; - is standard output (JOB.html, if not given).",
)
def report(job: str, output: Path | None) -> None:
    """Write a job's report: one HTML page with what was bought, for how much, and why.

    The page holds everything that it shows and loads nothing, so that it can be sent to others and printed.
    It is made from what is known now: of a running job as well.

    \b
    Examples:
      cascade-batch report headlines
      cascade-batch report headlines -o - > report.html
    """
    from cascade_batch.client.reading import page_path, read_page, require_html, write_page

    is_stream = str(output) == "-"
    if output is not None and not is_stream:
        require_html(output)
    with services() as service:
        page = read_page(service.engine, job)
    if is_stream:
        click.echo(page)
        return
    path = output or page_path(job)
    write_page(page, path)
    say(f"The report is in {path}.")
