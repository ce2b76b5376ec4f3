"""`cascade-batch tiers`: the tiers of a tiers file or a job file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.frame import EXIT_FAILED, Group, warn
from cascade_batch.cli.given import check_file
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import latency_text, print_json, print_table, usd
from cascade_batch.domain.money import PICOUSD_PER_TOKEN_PER_USD_PER_MTOK, Price, format_usd

if TYPE_CHECKING:
    from cascade_batch.engine.tier_check import TierCheck


@click.group(cls=Group)
def tiers() -> None:
    """Try out the tiers of a tiers file."""


@tiers.command(short_help="Make one small call to every tier.")
@click.option(
    "--tiers",
    "tiers_file",
    type=click.Path(path_type=Path),
    callback=check_file,
    metavar="FILE",
    help="Read the tiers from a file.",
)
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path),
    callback=check_file,
    metavar="FILE",
    help="Take the tiers of a job file.",
)
@json_option
@click.pass_context
def check(
    ctx: click.Context, tiers_file: Path | None, job_file: Path | None, as_json: bool
) -> None:
    """Make one small call to every tier: is it reachable, priced, and how quick is it?

    The calls are paid for like any other (their cost is shown). Exits with 1 if a tier can't be
    used as it is declared.

    \b
    Examples:
      cascade-batch tiers check
      cascade-batch tiers check --tiers other.yaml
    """
    import asyncio

    from cascade_batch.engine.spec_files import read_tiers
    from cascade_batch.engine.tier_check import check_tiers

    found, warnings = read_tiers(tiers_file=tiers_file, job_file=job_file)
    for warning in warnings:
        warn(warning)
    checks = asyncio.run(check_tiers(found))
    if as_json:
        print_json([_as_json(one) for one in checks])
    else:
        print_table(
            [
                "Tier",
                "Model",
                "Price per million tokens",
                "Latency",
                "Log-probabilities",
                "Cost",
                "",
            ],
            [_as_row(one) for one in checks],
            right="   r r ",
        )
    ctx.exit(0 if all(one.is_ok for one in checks) else EXIT_FAILED)


def _as_row(one: TierCheck) -> list[str]:
    logprobs = {None: "not asked for", True: "given", False: "asked for, not given"}
    return [
        one.tier.name,
        one.tier.model,
        _price_text(one.tier.bound_price),
        latency_text(one.latency_ms),
        "" if one.error else logprobs[one.gives_logprobs],
        "" if one.error else format_usd(one.cost_nanousd),
        f"FAILED: {one.error}" if one.error else "ok" if one.is_ok else "set logprobs: false",
    ]


def _price_text(price: Price) -> str:
    step = price.steps[0]
    parts = []
    if (
        step.input_picousd
        or step.output_picousd
        or not (price.call_nanousd or price.second_nanousd)
    ):
        parts.append(f"${_per_mtok(step.input_picousd)} in, ${_per_mtok(step.output_picousd)} out")
    if len(price.steps) > 1:
        parts.append("more for long inputs")
    if price.call_nanousd:
        parts.append(f"{format_usd(price.call_nanousd)} per call")
    if price.second_nanousd:
        parts.append(f"{format_usd(price.second_nanousd)} per second")
    return ", ".join(parts)


def _per_mtok(picousd: int) -> str:
    return format(_usd_per_mtok(picousd), "f")


def _usd_per_mtok(picousd: int) -> Decimal:
    amount = Decimal(picousd) / PICOUSD_PER_TOKEN_PER_USD_PER_MTOK
    return amount.normalize() if amount else Decimal(0)


def _as_json(one: TierCheck) -> dict[str, Any]:
    step = one.tier.bound_price.steps[0]
    return {
        "tier": one.tier.name,
        "model": one.tier.model,
        "ok": one.is_ok,
        "error": one.error,
        "latency_ms": one.latency_ms,
        "logprobs": one.gives_logprobs,
        "reports_usage": one.reports_usage,
        "input_usd_per_mtok": _usd_per_mtok(step.input_picousd),
        "output_usd_per_mtok": _usd_per_mtok(step.output_picousd),
        "price_source": one.tier.bound_price.source,
        "cost_usd": usd(one.cost_nanousd),
    }
