"""What a job would cost and, with a pilot, come to: what the command line and Python share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from cascade_batch.client.services import Services
from cascade_batch.domain.money import nanousd_to_usd

if TYPE_CHECKING:
    from cascade_batch.datasets import InMemory
    from cascade_batch.engine.estimate import Estimate
    from cascade_batch.engine.spec_files import JobRequest
    from cascade_batch.errors import DataError


def read_estimate(
    request: JobRequest,
    *,
    whole: bool,
    held: InMemory | None = None,
    on_bad: Callable[[DataError], None] | None = None,
) -> Estimate:
    """Find what each tier would cost for all rows.

    Args:
        whole: Read all of the data set; else, of a large file that can be jumped about in, a sample.
        held: The data set, where it is no file.
        on_bad: Takes the error of each record that is left out.

    Raises:
        DataError: A record, or all of them, can't be used.
        UsageError: No record has the gold column.
    """
    from cascade_batch.datasets import read_records
    from cascade_batch.datasets.sampling import sample_file
    from cascade_batch.engine.estimate import estimate_job
    from cascade_batch.engine.pilot import SAMPLE_ROWS

    spec = request.spec
    left_out = 0

    def leave_out(error: DataError) -> None:
        nonlocal left_out
        left_out += 1
        if on_bad is not None:
            on_bad(error)

    skip = leave_out if request.skip_bad else None
    sample = None
    if not whole and held is None and request.limit is None:
        sample = sample_file(request.data, rows=SAMPLE_ROWS, seed=spec.seed)
    if sample is None:
        read = partial(read_records, request.data) if held is None else held.read
        found = estimate_job(
            spec, partial(read, limit=request.limit, on_bad=skip), keep=SAMPLE_ROWS
        )
    else:
        found = estimate_job(
            spec, partial(sample.read, on_bad=skip), keep=SAMPLE_ROWS, is_whole=False
        )
        usable = found.rows / (found.rows + left_out)
        found.scale_to(
            max(round(sample.total_rows * usable), found.rows),
            spec.budget_nanousd,
            exact=sample.is_exact and not left_out,
        )
    found.bad_rows = left_out
    return found


def run_pilot(
    service: Services,
    request: JobRequest,
    found: Estimate,
    pilot_nanousd: int,
    *,
    rows: int,
    wait: Callable[[Services, str], object],
) -> dict[str, Any]:
    """Ask some rows on every tier, and say what the whole job is expected to come to.

    Args:
        found: What its data set is like.
        pilot_nanousd: What the pilot may spend.
        rows: Rows that are enough.
        wait: Waits until a job is over; raises if it is left, or did not end well.

    Returns:
        See `hear_pilot`.

    Raises:
        BudgetError: The money is too little for a pilot.
    """
    from dataclasses import replace

    from cascade_batch.client.submission import store_job
    from cascade_batch.engine.pilot import draw_pilot, hear_pilot, pilot_reader, pilot_spec

    asked = draw_pilot(request.spec, found, pilot_nanousd, most=rows)
    pilot = replace(request, spec=pilot_spec(request.spec, pilot_nanousd), name_is_explicit=False)
    name = store_job(service, pilot, pilot_reader(asked)).name
    wait(service, name)
    return hear_pilot(
        service.engine, name, request.spec, found, asked, has_budget=request.has_budget
    )


def estimate_as_dict(
    request: JobRequest, found: Estimate, pilot: dict[str, Any] | None
) -> dict[str, Any]:
    """An estimate for programs; money in dollars, with all its digits (what a pilot foretells: floats)."""
    budget = request.spec.budget_nanousd if request.has_budget else None
    return {
        "rows": found.rows,
        "rows_read": found.rows_read,
        "rows_are_exact": found.rows_are_exact,
        "bad_rows": found.bad_rows,
        "minimum_budget_usd": nanousd_to_usd(found.minimum_budget_nanousd),
        "budget_usd": None if budget is None else nanousd_to_usd(budget),
        "budget_is_enough": None if budget is None else budget >= found.minimum_budget_nanousd,
        "affordable_rows": None if budget is None else found.affordable_rows,
        "tiers": {
            tier.name: {
                "model": tier.model,
                "price_source": tier.price_source,
                "worst_case_usd": nanousd_to_usd(tier.worst_case_nanousd),
                "likely_usd": nanousd_to_usd(tier.likely_nanousd),
                "likely_input_tokens": tier.likely_input_tokens,
                "likely_output_tokens": tier.likely_output_tokens,
                "rows_after_drafts": None if budget is None else found.escalations(no, budget),
            }
            for no, tier in enumerate(found.tiers)
        },
        "pilot": pilot,
    }
