"""`cascade-batch errors`: rows that failed, why, and what to do."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.client.services import services
from cascade_batch.domain.counting import counted

if TYPE_CHECKING:
    from cascade_batch.results import FailureGroup

_SHOWN = 20
_MESSAGE = 240
_WORDS = 60
"""So much of a message, and `--reason` knows which failures are meant."""


@click.command(cls=Command)
@job_argument
@json_option
@click.option(
    "--rows/--groups", default=None, help="List rows, or what they failed by (rows, with --json)."
)
@click.option("--limit", type=click.IntRange(1), help="Show only so many rows or groups.")
def errors(job: str, as_json: bool, rows: bool | None, limit: int | None) -> None:
    """Show what rows of a job failed by, with an example and what to do; or the rows themselves.

    Messages that differ in numbers and ids only are one kind.

    \b
    Examples:
      cascade-batch errors headlines
      cascade-batch errors headlines --rows --limit 10
    """
    from itertools import islice

    from cascade_batch.engine.jobs import find_job
    from cascade_batch.results import failed_rows, failure_groups, missing_money

    wants_rows = as_json if rows is None else rows
    with services() as service, service.engine.connect() as connection:
        found = find_job(connection, job)
        if wants_rows:
            listed = list(islice(failed_rows(connection, found.job_id), limit))
            groups: list[FailureGroup] = []
        else:
            listed = []
            groups = failure_groups(connection, found.job_id)[:limit]
        missing = (
            missing_money(connection, found.job_id)
            if any(group.reason == "money" for group in groups)
            else 0
        )
    steps = [next_step(job, group, missing) for group in groups]
    if as_json:
        print_json(
            [{k: v for k, v in row._asdict().items() if k != "input"} for row in listed]
            if wants_rows
            else [{**g._asdict(), "next": step} for g, step in zip(groups, steps, strict=True)]
        )
    elif listed:
        print_table(
            ["Row", "custom_id", "Line", "Reason", "Error"],
            [[str(r.row_no), r.custom_id, str(r.line_no), r.reason, r.error] for r in listed],
            right="r r  ",
        )
    elif groups:
        _print_groups(groups[:_SHOWN], steps)
        if len(groups) > _SHOWN:
            say(f"{counted(len(groups) - _SHOWN, 'kind')} more: --limit, or --rows for all rows.")
    else:
        say(f"No row of job {job!r} failed.")
    if found.state == "failed":
        say(
            f"The job itself failed: {found.reason}\nOnce that is mended:"
            f"  cascade-batch resume {shlex.quote(job)}"
        )


def next_step(job: str, group: FailureGroup, missing_nanousd: int) -> str:
    """The command that does something about failures of this kind, after what has to be done before it."""
    retry = f"cascade-batch retry {shlex.quote(job)} --failed"
    words = shlex.quote(_first_words(group.error))
    if group.reason == "money":
        add = f" --add {_dollars_up(missing_nanousd)}" if missing_nanousd else ""
        return f"{retry} --reason money{add}"
    if group.reason == "stopped":
        return f"mend the tier (cascade-batch tiers check), then: {retry} --reason stopped"
    if group.reason == "lost":
        return f"{retry} --reason {words}"
    return (
        f"mend these rows and submit them anew (cascade-batch results {shlex.quote(job)} -o out.jsonl writes"
        f" them to out.errors.jsonl); if they are good as they are: {retry} --reason {words}"
    )


def _first_words(error: str) -> str:
    """Whole words that a message begins with: what is left of a cut one might not be found again."""
    line = error.strip().partition("\n")[0]
    if len(line) <= _WORDS:
        return line.strip()
    head, space, _ = line[: _WORDS + 1].rpartition(" ")
    return head.strip() if space else line.partition(" ")[0]


def _print_groups(groups: list[FailureGroup], steps: list[str]) -> None:
    for place, (group, step) in enumerate(zip(groups, steps, strict=False)):
        if place:
            click.echo()
        click.echo(f"{counted(group.rows, 'row')} {_WHAT[group.reason]}")
        error = group.error if len(group.error) <= _MESSAGE else f"{group.error[:_MESSAGE]}…"
        click.echo(f"  Error    {' '.join(error.split())}")
        click.echo(
            f"  Example  row {group.row_no}, custom_id {group.custom_id}, line {group.line_no}"
        )
        click.echo(f"  Next     {step}")


_WHAT = {
    "money": "could not be asked, as the money ran out",
    "refused": "refused by the provider",
    "lost": "given up after calls that came to no known end",
    "stopped": "not asked, as their tiers were stopped",
}


def _dollars_up(nanousd: int) -> str:
    """Dollars, rounded up to cents, or to two digits of a smaller amount."""
    places = 2
    while nanousd < 10 ** (10 - places) and places < 9:
        places += 1
    unit = 10 ** (9 - places)
    dollars = f"{Decimal(-(-nanousd // unit)).scaleb(-places):f}"
    while len(dollars.partition(".")[2]) > 2 and dollars.endswith("0"):
        dollars = dollars[:-1]
    return dollars
