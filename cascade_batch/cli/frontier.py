"""`cascade-batch frontier`: what other budgets would bring."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.client.expectation import (
    answers_name,
    answers_text,
    next_money_text,
    quality_name,
    quality_text,
)
from cascade_batch.client.services import services
from cascade_batch.domain.money import format_usd, usd_to_nanousd

_OWN = "this job's budget"
_NO_SUPPORT = "no support"


@click.command(cls=Command)
@job_argument
@json_option
def frontier(job: str, as_json: bool) -> None:
    """Show what quality to expect of a job at other budgets, and what more money would buy.

    It is drawn anew from what is known of the job, in whatever state that is, and spends nothing. The job's
    own budget is marked; budgets are dim where the plan leans on tiers of which too few answers were seen.

    \b
    Example:
      cascade-batch frontier headlines
    """
    from cascade_batch.engine.frontier import job_frontier

    with services() as service:
        found = job_frontier(service.engine, job)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    own = usd_to_nanousd(found["budget_usd"])
    points = found["points"]
    gains = [
        (point["quality"] - last["quality"]) * found["rows"] for last, point in pairwise(points)
    ]
    # An interval says how far a measurement may be off: of a guess it would say too much.
    interval = ["90 % interval"] if found["measured"] else []
    bought = ["", *(f"+{answers_text(gain)} {answers_name(found)}" for gain in gains)]
    print_table(
        ["Budget", quality_name(found).capitalize(), *interval, "The step buys", ""],
        [
            _cells(point, gained, own, with_interval=found["measured"])
            for point, gained in zip(points, bought, strict=True)
        ],
        right="r" * (len(interval) + 3),
        dim=[place for place, point in enumerate(points) if not point["supported"]],
    )
    click.echo()
    if not all(point["supported"] for point in points):
        click.echo(
            f"Dim ({_NO_SUPPORT}): leans on tiers of which too few answers were seen; a guess."
        )
    click.echo(
        f"Spent so far: {format_usd(usd_to_nanousd(found['spent_usd']))} of {format_usd(own)}."
    )
    click.echo(next_money_text(found, found["job"], own))
    _explain(found)


def _cells(
    point: dict[str, Any], gained: str, own_nanousd: int, *, with_interval: bool
) -> list[str]:
    budget = usd_to_nanousd(point["budget_usd"])
    marks = [_OWN] * (budget == own_nanousd) + [_NO_SUPPORT] * (not point["supported"])
    interval = [f"{quality_text(point['low'])} to {quality_text(point['high'])}"]
    return [
        format_usd(budget),
        quality_text(point["quality"]),
        *(interval if with_interval else []),
        gained,
        ", ".join(marks),
    ]


def _explain(found: dict[str, Any]) -> None:
    """Say beside the data what its numbers are not."""
    if found["labels"] == "agreement":
        say(
            "Nobody labels this job: these numbers put budgets in order, and measure nothing. To"
            " measure, submit a job with right answers on some rows (--gold COLUMN) or with a check"
            " that decides (--check)."
        )
    elif not found["measured"]:
        say(
            "Too few answers are known to be right or wrong so far: these numbers are what is usual,"
            " and measure nothing of this job."
        )
    else:
        say(
            "The job's own quality, in `status`, is the mean over the answers that it has. This is expected"
            " of all rows, and follows the known right answers more closely than a single answer's quality"
            " does: the two may differ a little."
        )
    if found["policy"] != "auto":
        say(
            f"The job's policy is {found['policy']!r}; this is what the policy 'auto' would come to."
        )
