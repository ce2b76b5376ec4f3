"""`cascade-batch estimate`: what a job would cost, and with a pilot what it would come to."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.frame import Command, say, warn
from cascade_batch.cli.options import job_options, json_option
from cascade_batch.cli.output import latency_text, print_json, print_table
from cascade_batch.client.estimating import estimate_as_dict, read_estimate, run_pilot
from cascade_batch.client.expectation import quality_name, quality_text
from cascade_batch.client.services import Services, services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import enough_usd, format_usd, usd_to_nanousd
from cascade_batch.errors import JobFailedError, UsageError

if TYPE_CHECKING:
    from cascade_batch.engine.estimate import Estimate
    from cascade_batch.engine.spec_files import JobRequest
    from cascade_batch.errors import DataError

_SHOWN_OF_PILOT = 10


@click.command(cls=Command)
@job_options
@click.option(
    "--whole", is_flag=True, help="Read all of a large file, instead of a sample from all over it."
)
@click.option(
    "--pilot",
    metavar="USD",
    help="Spend up to these dollars on asking some rows on every tier, and say what the job comes to.",
)
@click.option(
    "--pilot-rows",
    type=click.IntRange(1, 2_000),
    default=200,
    show_default=True,
    help="Ask no more than so many rows in a pilot.",
)
@json_option
@click.pass_context
def estimate(
    ctx: click.Context,
    /,
    whole: bool,
    pilot: str | None,
    pilot_rows: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what a job would cost on each tier, and what a budget can buy. Spends nothing, but for --pilot.

    Worst cases are bounds, as they are reserved; likely costs are guesses from sizes alone. Of large
    files (.jsonl from 16 MiB, .parquet from 50,000 rows) a sample is read; `submit --dry-run` reads
    and checks all.

    With --pilot, rows drawn at random are asked on every tier, in a job of their own with that budget:
    measured are accuracy (or agreement), prices and latencies, and told is what quality to expect of
    the whole at which budget, and which budget is enough. The job that follows takes the pilot's
    answers over.

    \b
    Examples:
      cascade-batch estimate data.jsonl --prompt @prompt.txt
      cascade-batch estimate data.jsonl --prompt @prompt.txt --gold label --pilot 0.50
    """
    pilot_nanousd = None if pilot is None else _dollars(pilot)
    request, found = read_and_estimate(given, needs_budget=False, whole=whole)
    if pilot_nanousd is None:
        show_estimate(request, found, as_json=as_json)
        if not as_json:
            say(
                "Likely costs are rough guesses by length. --pilot USD asks some rows, and measures."
            )
        return
    if not as_json:
        show_estimate(request, found, as_json=False)
    with services(request.spec.tiers) as service:
        service.require_broker()
        heard = run_pilot(service, request, found, pilot_nanousd, rows=pilot_rows, wait=_wait)
    command = _submit_command(ctx, given, heard["recommended"]["budget_usd"])
    heard["command"] = command
    if as_json:
        print_json(estimate_as_dict(request, found, heard))
    else:
        _show_pilot(heard, command, is_taken_over=request.spec.cache)


def read_and_estimate(
    given: dict[str, Any], *, needs_budget: bool, whole: bool = True
) -> tuple[JobRequest, Estimate]:
    """Read the job that the options describe, and its data; tell of what is left out.

    Raises:
        UsageError: The job or the data can't be used.
    """
    from cascade_batch.engine.spec_files import JobOptions, read_job

    request = read_job(JobOptions(**given), needs_budget=needs_budget)
    for warning in request.warnings:
        warn(warning)

    def on_bad(error: DataError) -> None:
        warn(f"left out: {error.message}")

    return request, read_estimate(request, whole=whole, on_bad=on_bad)


def show_estimate(request: JobRequest, found: Estimate, *, as_json: bool) -> None:
    """Print an estimate on standard output."""
    budget = request.spec.budget_nanousd if request.has_budget else None
    if as_json:
        print_json(estimate_as_dict(request, found, None))
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
    about = "" if found.rows_are_exact else "About "
    rows = f"{about}{counted(found.rows, 'row')}"
    if found.is_sampled:
        rows += f", by {found.rows_read:,} from all over {request.data}"
    spare = ", with some to spare" if found.is_sampled else ""
    least = enough_usd(found.minimum_budget_nanousd)
    say(f"{rows}. A job needs a budget of ${least} or more{spare}.")
    if budget is not None and budget < found.minimum_budget_nanousd:
        warn(
            f"{format_usd(budget)} would be refused: it covers the first"
            f" {found.affordable_rows:,} rows at worst case."
        )


def _wait(service: Services, name: str) -> None:
    from cascade_batch.cli.following import follow_job

    code, last = follow_job(service, name)
    if last is None:
        raise KeyboardInterrupt
    if last["status"] != "finished" or not last["rows"]["answered"]:
        raise JobFailedError(f"The pilot {name!r} came to nothing (exit code {code}).")


def _show_pilot(heard: dict[str, Any], command: str, *, is_taken_over: bool) -> None:
    click.echo()
    names = list(heard["tiers"])
    print_table(
        ["Tier", "Answers", "Right", "90 % interval", f"Agrees with {names[-1]}", "Per answer",
         "Of worst case", "Median", "95 %"],
        [_pilot_row(name, tier) for name, tier in heard["tiers"].items()],
        right=" rrrrrrrr",
        spare=(6, 8, 4, 3),
    )  # fmt: skip
    click.echo()
    _print_curve(heard)
    click.echo()
    best = heard["recommended"]
    expected = (
        f" {quality_name(heard).capitalize()}: {quality_text(best['quality'])}."
        if heard["measured"]
        else ""
    )
    click.echo(
        f"Recommended: {format_usd(usd_to_nanousd(best['budget_usd']))}, {best['rule']}.{expected}"
    )
    click.echo(f"  {command}")
    say(
        f"The pilot {heard['job']!r} asked {heard['rows']:,} rows for"
        f" {format_usd(usd_to_nanousd(heard['spent_usd']))}"
        f"{_TAKEN_OVER if is_taken_over else ''}."
    )
    if not heard["measured"]:
        say(
            "Too few answers are known to be right or wrong: these numbers put budgets in order, and measure"
            " nothing. --gold COLUMN (right answers on some rows) or --check measures."
        )


_TAKEN_OVER = "; the job takes its answers over, and so needs a smaller budget at least"


def _print_curve(heard: dict[str, Any]) -> None:
    """What to expect of a few budgets; those from which the same is expected are one line."""
    stretches: list[list[dict[str, Any]]] = []
    for point in heard["points"]:
        if stretches and _look(stretches[-1][0]) == _look(point):
            stretches[-1].append(point)
        else:
            stretches.append([point])
    step = -(-len(stretches) // _SHOWN_OF_PILOT)
    shown = [*stretches[:-1][::step], stretches[-1]]
    print_table(
        ["Budget", quality_name(heard).capitalize(), "90 % interval", ""],
        [_stretch_row(stretch) for stretch in shown],
        right="rrr",
        dim=[place for place, (first, *_) in enumerate(shown) if not first["supported"]],
    )


def _look(point: dict[str, Any]) -> tuple[str, bool]:
    return quality_text(point["quality"]), point["supported"]


def _stretch_row(stretch: list[dict[str, Any]]) -> list[str]:
    first, last = stretch[0], stretch[-1]
    low, high = min(point["low"] for point in stretch), max(point["high"] for point in stretch)
    notes = []
    if last is not first:
        notes.append(f"the same up to {format_usd(usd_to_nanousd(last['budget_usd']))}")
    if not first["supported"]:
        notes.append("no support")
    return [
        format_usd(usd_to_nanousd(first["budget_usd"])),
        quality_text(first["quality"]),
        f"{quality_text(low)} to {quality_text(high)}",
        ", ".join(notes),
    ]


def _pilot_row(name: str, tier: dict[str, Any]) -> list[str]:
    def share(key: str) -> str:
        return "-" if tier[key] is None else f"{tier[key]:.1%}"

    interval = "-" if tier["low"] is None else f"{share('low')} to {share('high')}"
    each = tier["usd_per_answer"]
    return [
        name,
        f"{tier['answers']:,}",
        share("accuracy"),
        interval,
        share("agreement"),
        "-" if each is None else format_usd(round(each * 10**9)),
        share("share_of_worst_case"),
        latency_text(tier["latency_ms_p50"]),
        latency_text(tier["latency_ms_p95"]),
    ]


def _submit_command(ctx: click.Context, given: dict[str, Any], budget_usd: float) -> str:
    """What to type next: the same options, with the recommended budget."""
    words = ["cascade-batch", "submit"]
    for parameter in ctx.command.params:
        value = given.get(parameter.name or "")
        if value is None or parameter.name == "budget":
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif value is False and parameter.secondary_opts:
            words.append(parameter.secondary_opts[0])
        else:
            values = value if isinstance(value, tuple) else (value,)
            for one in values:
                words += [parameter.opts[0], str(one)]
    budget = f"{budget_usd:.9f}".rstrip("0").rstrip(".")
    return shlex.join([*words, "--budget", budget])


def _dollars(text: str) -> int:
    try:
        return usd_to_nanousd(text)
    except ValueError as error:
        raise UsageError(f"--pilot: {error}.", hint="Write dollars, for example 0.50.") from None
