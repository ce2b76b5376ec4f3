"""`cascade-batch submit`: a data set in, every row answered."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.frame import Command, load_redis_alone, say, warn
from cascade_batch.cli.options import job_options, json_option
from cascade_batch.cli.output import print_json, usd
from cascade_batch.client.services import Services, services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import format_usd
from cascade_batch.errors import place_in

if TYPE_CHECKING:
    from cascade_batch.domain.row import Record
    from cascade_batch.engine.row_bounds import Reader
    from cascade_batch.engine.spec_files import JobRequest
    from cascade_batch.engine.submit import Submission


@click.command(cls=Command)
@job_options
@click.option("--detach", is_flag=True, help="Return at once instead of waiting for the end.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, submit nothing.")
@json_option
@click.pass_context
def submit(ctx: click.Context, /, detach: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Answer every row of DATA as well as the budget allows, and never spend a cent more.

    DATA is a .jsonl, .csv or .parquet file (the first two also as .gz or .zst), or `-` for JSON
    Lines on standard input. Prints the job's name, shows progress on standard error and waits;
    Ctrl-C leaves the job running.

    Exits with 0 when all is done, 1 if the job failed, 2 for wrong input, 3 if the money ran out
    before every row had an answer, 4 if database or broker can't be reached, 130 on Ctrl-C.

    \b
    Examples:
      cascade-batch submit data.jsonl --budget 5 --prompt 'Up or down? {{ headline }}'
      cascade-batch submit data.csv --budget 5 --prompt @prompt.txt --output '{choices: [up, down]}'
      cascade-batch submit --job jobs/reviews --limit 100 --name a-try
      produce-rows | cascade-batch submit - --start-early --budget 5 --prompt @prompt.txt
      cascade-batch submit data.jsonl --budget 5 --prompt @prompt.txt --dry-run
      job=$(cascade-batch submit data.jsonl --budget 5 --prompt @prompt.txt --detach)
    """
    if dry_run:
        from cascade_batch.cli.estimate import read_and_estimate, show_estimate
        from cascade_batch.engine.row_bounds import require_budget

        request, found = read_and_estimate(given, needs_budget=True)
        require_budget(
            request.spec,
            rows=found.rows,
            minimum_nanousd=found.minimum_budget_nanousd,
            affordable_rows=found.affordable_rows,
        )
        show_estimate(request, found, as_json=as_json)
        return

    from cascade_batch.datasets import check_source
    from cascade_batch.engine.spec_files import JobOptions, read_job

    request = read_job(JobOptions(**given))
    # Before the services, which may take seconds to start.
    check_source(request.data)
    for warning in request.warnings:
        warn(warning)
    load_redis_alone()
    with services(request.spec.tiers, request.spec.notify) as service:
        service.require_broker()
        submission = _submit(service, request)
        name = submission.name
        if not as_json:
            click.echo(name)
        if detach:
            if as_json:
                print_json(_as_json(submission))
            say(f"Follow it:  cascade-batch watch {shlex.quote(name)}")
            return
        from cascade_batch.cli.following import follow_job

        code, last = follow_job(service, name)
    if as_json:
        print_json(_as_json(submission) if last is None else last)
    if code == 0:
        say(f"See the answers:  cascade-batch results {shlex.quote(name)}")
    ctx.exit(code)


def _submit(service: Services, request: JobRequest) -> Submission:
    from cascade_batch.cli.progress import waiting
    from cascade_batch.client.submission import store_job
    from cascade_batch.datasets import read_records

    left_out = 0
    has_begun = False

    def on_start(name: str) -> None:
        nonlocal has_begun
        has_begun = True
        say(
            f"Job {name!r} drafts its first rows while the others are read. Follow it elsewhere: "
            f" cascade-batch watch {shlex.quote(name)}"
        )

    def on_bad(error: Exception) -> None:
        nonlocal left_out
        left_out += 1
        warn(f"left out: {error}")

    on_bad_or_none = on_bad if request.skip_bad else None
    read = _Counting(
        partial(read_records, request.data, limit=request.limit, on_bad=on_bad_or_none)
    )
    try:
        what = place_in(request.data, None)
        with waiting(f"Reading {what}, storing its rows", count=lambda: read.rows):
            submission = store_job(service, request, read, on_start=on_start)
    except KeyboardInterrupt:
        say(
            "\nThe job is cancelled, as not all of its data was read. Submit all of it again under another"
            " name: the answers that were bought are taken over at no cost."
            if has_begun
            else "\nThe job was being stored; whether it is there is shown by:  cascade-batch status"
        )
        raise
    for warning in submission.warnings:
        warn(warning)
    without = f" ({counted(left_out, 'record')} left out)" if left_out else ""
    saved = ""
    if submission.saved_rows:
        saved = (
            f" ({submission.saved_rows:,} of them answered by an earlier job or row, at no cost)"
        )
    say(
        f"Job {submission.name!r}: {counted(submission.rows, 'row')}{without}{saved},"
        f" a budget of {format_usd(request.spec.budget_nanousd)}."
    )
    return submission


class _Counting:
    """A reader that knows how many records it has given so far."""

    def __init__(self, read: Reader) -> None:
        self.rows = 0
        self._read = read

    def __call__(self, *, check: Callable[[Record], None]) -> Iterator[Record]:
        self.rows = 0
        for record in self._read(check=check):
            self.rows += 1
            yield record


def _as_json(submission: Submission) -> dict[str, Any]:
    return {
        "name": submission.name,
        "rows": submission.rows,
        "worst_case_usd": usd(submission.worst_case_nanousd),
    }
