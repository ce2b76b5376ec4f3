"""`cascade-batch results`: a job's answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument
from cascade_batch.client.services import services
from cascade_batch.domain.counting import counted
from cascade_batch.errors import CascadeError

if TYPE_CHECKING:
    from cascade_batch.domain.job import Output
    from cascade_batch.domain.output_columns import OutputColumn
    from cascade_batch.results.reading import Result


@click.command(cls=Command)
@job_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to a .jsonl, .csv or .parquet file instead of standard output.",
)
@click.option(
    "--with-input",
    is_flag=True,
    help="Put the columns of the input beside the answers, named and ordered as in the job's SQL view.",
)
@click.option("--json", "_as_json", is_flag=True, help="Print JSON for programs (as always here).")
def results(job: str, output: Path | None, with_input: bool, _as_json: bool) -> None:
    """Print a job's results in input order: JSON Lines, or a file of another format.

    Rows that are still to be answered are left out, so that a running job can be read as well. Columns of
    a Parquet file have the types that the job's output declares. Rows that failed go to a file of their own
    beside it (out.errors.jsonl for out.csv), with reason and input.

    \b
    Examples:
      cascade-batch results headlines | jq .value
      cascade-batch results headlines -o headlines.parquet
      cascade-batch results headlines -o headlines.csv --with-input
    """
    from cascade_batch.engine.jobs import find_job
    from cascade_batch.results import export_job, read_inputs, stream_results

    with services() as service, service.engine.connect() as connection:
        found = find_job(connection, job)
        if output is None:
            stream = stream_results(connection, found.job_id, with_input=with_input)
            inputs = read_inputs(connection, found.job_id, found.spec) if with_input else ()
            rows = _print(stream, found.spec.output, inputs)
        else:
            exported = export_job(
                connection, found.job_id, output, found.spec, with_input=with_input
            )
            rows = exported.rows
            say(f"{counted(rows, 'row')} written to {output}.")
            if exported.failed:
                say(
                    f"{exported.failed:,} of them failed; why, and on what input: {exported.errors}"
                )
    if rows < found.rows_total:
        say(f"{found.rows_total - rows:,} of {found.rows_total:,} rows are still to come.")


def _print(stream: Iterable[Result], output: Output, inputs: Sequence[OutputColumn]) -> int:
    from cascade_batch.results import write_jsonl

    try:
        rows = write_jsonl(stream, sys.stdout.buffer, output, inputs)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CascadeError(
            f"The results could not be written: {error.strerror or error}.",
            hint="Make room where standard output leads; the results are safe in the database.",
        ) from error
    return rows
