"""`cascade-batch estimate`: what a job would cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.frame import Command, say, warn
from cascade_batch.cli.options import job_options, json_option
from cascade_batch.cli.output import print_json, print_table, usd
from cascade_batch.domain.money import format_usd

if TYPE_CHECKING:
    from cascade_batch.engine.estimate import Estimate
    from cascade_batch.engine.spec_files import JobRequest
    from cascade_batch.errors import DataError


@click.command(cls=Command)
@job_options
@json_option
def estimate(as_json: bool, **given: Any) -> None:
    """Say what a job would cost on each tier, and what a budget can buy. Spends nothing.

    Worst cases are exact bounds, as they are reserved; likely costs are guesses from sizes alone.
    """
    request, found = read_and_estimate(given, needs_budget=False)
    show_estimate(request, found, as_json=as_json)


def read_and_estimate(given: dict[str, Any], *, needs_budget: bool) -> tuple[JobRequest, Estimate]:
    """Read the job that the options describe, and its data; tell of what is left out.

    Raises:
        UsageError: The job or the data can't be used.
    """
    from cascade_batch.datasets import read_records
    from cascade_batch.engine.estimate import estimate_job
    from cascade_batch.engine.spec_files import JobOptions, read_job

    request = read_job(JobOptions(**given), needs_budget=needs_budget)
    for warning in request.warnings:
        warn(warning)
    left_out = 0

    def on_bad(error: DataError) -> None:
        nonlocal left_out
        left_out += 1
        warn(f"left out: {error.message}")

    read = partial(
        read_records,
        request.data,
        limit=request.limit,
        on_bad=on_bad if request.skip_bad else None,
    )
    found = estimate_job(request.spec, read)
    found.bad_rows = left_out
    return request, found


def show_estimate(request: JobRequest, found: Estimate, *, as_json: bool) -> None:
    """Print an estimate on standard output."""
    budget = request.spec.budget_nanousd if request.has_budget else None
    if as_json:
        print_json(_as_json(found, budget))
        return
    columns = ["Tier", "Model", "At worst", "Likely", "Likely per 1,000 rows"]
    if budget is not None:
        columns.append("Budget buys, after drafts")
    print_table(
        columns,
        [
            [
                tier.name,
                tier.model,
                format_usd(tier.worst_case_nanousd),
                format_usd(tier.likely_nanousd),
                format_usd(tier.likely_nanousd * 1000 // max(found.rows, 1)),
                *([] if budget is None else [f"{found.escalations(no, budget):,} rows"]),
            ]
            for no, tier in enumerate(found.tiers)
        ],
        right="  rrrr",
    )
    say(f"{found.rows:,} rows. A job needs a budget of {_least(found)} or more.")
    if budget is not None and budget < found.minimum_budget_nanousd:
        warn(
            f"{format_usd(budget)} would be refused: it covers the first"
            f" {found.affordable_rows:,} rows at worst case."
        )


def _least(found: Estimate) -> str:
    """The least budget in dollars, rounded up to what people type."""
    cents = -(-found.minimum_budget_nanousd // 10**7)
    return f"${cents / 100:,.2f}"


def _as_json(found: Estimate, budget_nanousd: int | None) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "bad_rows": found.bad_rows,
        "minimum_budget_usd": usd(found.minimum_budget_nanousd),
        "budget_usd": None if budget_nanousd is None else usd(budget_nanousd),
        "affordable_rows": None if budget_nanousd is None else found.affordable_rows,
        "tiers": {
            tier.name: {
                "model": tier.model,
                "price_source": tier.price_source,
                "worst_case_usd": usd(tier.worst_case_nanousd),
                "likely_usd": usd(tier.likely_nanousd),
                "rows_after_drafts": (
                    None if budget_nanousd is None else found.escalations(no, budget_nanousd)
                ),
            }
            for no, tier in enumerate(found.tiers)
        },
    }
