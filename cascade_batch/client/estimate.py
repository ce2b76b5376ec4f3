"""`cascade_batch.estimate`: what a job would cost and come to, before it is submitted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Unpack

from cascade_batch.client.estimating import estimate_as_dict, read_estimate, run_pilot
from cascade_batch.client.job import Job
from cascade_batch.client.job_arguments import JobArguments, StrPath, job_options, text_of
from cascade_batch.client.known_arguments import known_arguments
from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import Services, services
from cascade_batch.client.warning import warn
from cascade_batch.domain.money import usd_to_nanousd
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@known_arguments(beside=JobArguments.__annotations__)
def estimate(
    data: pd.DataFrame | pa.Table | Iterable[Mapping[str, Any]] | StrPath | None = None,
    *,
    pilot: str | int | float | Decimal | None = None,
    pilot_rows: int = 200,
    whole: bool = False,
    progress: bool = True,
    **job: Unpack[JobArguments],
) -> dict[str, Any]:
    """Say what a job would cost on each tier and what a budget can buy; with a pilot, what it would come to.

    Args:
        data: As for `submit`. What can be read once only (a generator) is used up.
        pilot: Dollars that may be spent on asking some rows on every tier, in a job of their own. None:
            nothing is spent, and no service is needed.
        pilot_rows: So many rows are enough for a pilot.
        whole: Read all of a large file, instead of a sample from all over it.
        progress: Whether to show how far the pilot is.
        job: Whatever `submit` takes besides; a budget may be left out.

    Returns:
        What `cascade-batch estimate --json` prints; money in dollars. `rows`, `minimum_budget_usd`, `tiers`
        (a dict by name: `worst_case_usd`, `likely_usd`, …), and under `pilot` what it measured of each tier,
        the frontier's `points`, and the `recommended` budget.

    Raises:
        UsageError: Something is missing or does not fit.
        DataError: A record can't be used.
        BudgetError: The pilot's money is too little to tell anything; the note says what would do.
        JobFailedError: The pilot came to nothing.

    Examples:
        >>> df = pd.DataFrame({"headline": ["Gold jumps", "Gold falls"] * 500})
        >>> found = cascade_batch.estimate(df, prompt="Good for gold? {{ headline }}", tiers="tiers.yaml")
        >>> found["rows"], sorted(found["tiers"])
        (1000, ['large', 'small'])
    """
    from cascade_batch.datasets import InMemory
    from cascade_batch.engine.spec_files import read_job

    with python_words():
        held = None if data is None or isinstance(data, str | os.PathLike) else InMemory(data)
        pilot_nanousd = None if pilot is None else _dollars(text_of(pilot) or "")
        request = read_job(job_options(data, held, job), needs_budget=False)
        for warning in request.warnings:
            warn(warning)
        found = read_estimate(request, whole=whole, held=held)
        heard = None
        if pilot_nanousd is not None:

            def wait(_service: Services, name: str) -> None:
                Job(name).wait(progress=progress)

            with services(request.spec.tiers) as service:
                service.require_broker()
                heard = run_pilot(
                    service, request, found, pilot_nanousd, rows=pilot_rows, wait=wait
                )
    plain: dict[str, Any] = _plain(estimate_as_dict(request, found, heard))
    return plain


def _plain(value: Any) -> Any:
    """Amounts as floats, as programs reckon with them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return float(value) if isinstance(value, Decimal) else value


def _dollars(text: str) -> int:
    try:
        return usd_to_nanousd(text)
    except ValueError as error:
        raise UsageError(f"estimate(): pilot: {error}.", hint="For example pilot=0.50.") from None
