"""`cascade-batch replay`: the planner on recorded outcomes."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.frame import EXIT_FAILED, Command, warn
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import print_json, print_table, usd
from cascade_batch.client.expectation import quality_text
from cascade_batch.domain.money import format_usd

if TYPE_CHECKING:
    from cascade_batch.replay.report import BudgetPoint, ReplayReport

_SET = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("sets", metavar="SET...", type=_SET, nargs=-1, required=True)
@click.option(
    "--mix",
    "more_sets",
    metavar="SET",
    type=_SET,
    multiple=True,
    help="Mix this set's rows in, as groups of their own; tiers are matched by place, cheap to dear.",
)
@click.option(
    "--tiers",
    metavar="A,B,C",
    help="Use only these tiers, cheap to dear. Of several sets whose tiers are called differently, name"
    " those of each: A,B,C+D,E,F.",
)
@click.option(
    "--labels",
    default="check",
    show_default=True,
    metavar="REGIME",
    help="Tell the planner about bought answers: check (whether each is right; check:0.9 errs one time in"
    " ten), learn (the same, to learn from only), gold:10% (to learn from, on a share of the rows), agreement"
    " (nothing).",
)
@click.option(
    "--budgets",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Try so many, from what all rows cost on the first tier to what they cost on the last.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Repeat with so many seeds; each draws rows, their order and labels anew.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Begin with this seed."
)
@click.option(
    "--rows", type=click.IntRange(1), help="Draw so many rows for each seed (all, if not given)."
)
@click.option(
    "--policy",
    type=click.Choice(["auto", "cheapest", "dearest", "random", "confidence", "every"]),
    default="auto",
    show_default=True,
    help="Choose what to buy by this policy.",
)
@click.option("--no-logprobs", is_flag=True, help="Hide all log-probabilities from the planner.")
@click.option(
    "--reserve",
    type=click.Choice(["recorded", "worst"]),
    default="recorded",
    show_default=True,
    help="Set aside for a call what it cost when it was recorded, or its worst case, as a job does; budgets"
    " that a job would be refused with are then left out.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Run so many at a time (one per core, if not given).",
)
@json_option
def replay(sets: tuple[Path, ...], as_json: bool, **given: Any) -> None:
    """Try the planner on recorded outcomes: in memory, at no cost.

    A SET is a file NAME.jsonl.gz with what several tiers answered to each row, and whether it was right;
    their prices stand in NAME.json beside it. Shows, per budget, the quality that the planner reaches
    between the hull (random mixes of single tiers) and the oracle (a clairvoyant), beside simple rivals.
    nAUC says how much of the way it goes: 0 is the hull, 1 the oracle.

    \b
    Example:
      cascade-batch replay recorded.jsonl.gz --labels learn
    """
    report = _run((*sets, *given["more_sets"]), given)
    if as_json:
        print_json(_as_json(report, given))
    else:
        _show(report, given)
    if report.violations or report.unanswered:
        warn(
            f"{report.violations:,} jobs exceeded their budget, {report.unanswered:,} rows got no answer."
        )
        click.get_current_context().exit(EXIT_FAILED)


def _run(sets: tuple[Path, ...], given: dict[str, Any]) -> ReplayReport:
    from cascade_batch.replay.labels import parse_regime
    from cascade_batch.replay.recorded import read_mix
    from cascade_batch.replay.run import ReplayPlan, replay
    from cascade_batch.replay.simulate import Reserve

    plan = ReplayPlan(
        regime=parse_regime(given["labels"]),
        n_budgets=given["budgets"],
        n_seeds=given["seeds"],
        n_rows=given["rows"],
        policy=given["policy"],
        reserve=Reserve(given["reserve"]),
        with_logprobs=not given["no_logprobs"],
        first_seed=given["seed"],
    )
    wanted = [
        [name.strip() for name in part.split(",")] for part in (given["tiers"] or "").split("+")
    ]
    set_ = read_mix(sets, wanted if given["tiers"] else [])
    jobs = plan.n_seeds * plan.n_budgets
    with click.progressbar(
        length=jobs,
        label="Replaying",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as progress:
        return replay(
            set_,
            plan,
            processes=given["processes"] or os.cpu_count() or 1,
            on_done=lambda: progress.update(1),
        )


def _as_json(report: ReplayReport, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "set": report.name,
        "rows": report.n_rows,
        "tiers": report.tiers,
        "labels": given["labels"],
        "policy": given["policy"],
        "seeds": given["seeds"],
        "nauc": {"mean": report.nauc, "lo": report.nauc_low, "hi": report.nauc_high},
        "min_margin_over_hull": report.min_margin_over_hull,
        "budgets": [_point_as_json(point) for point in report.points],
        "violations": report.violations,
        "unanswered": report.unanswered,
        "unspent_share": report.unspent_share,
    }


def _point_as_json(point: BudgetPoint) -> dict[str, Any]:
    return {
        "budget_usd": usd(point.budget_nanousd),
        "spent_usd": usd(point.spent_nanousd),
        "quality": point.quality,
        "hull": point.hull,
        "oracle": point.oracle,
        **point.rivals,
    }


def _show(report: ReplayReport, given: dict[str, Any]) -> None:
    """Two tables of curves, the second of cascades, then what they add up to."""
    last = report.tiers[-1]
    cascades = {f"confidence:{tier}>{last}": f"{tier} > {last}" for tier in report.tiers[:-1]}
    simple = ("cheapest", "dearest", "random")
    print_table(
        ["Budget", "Spent", given["policy"], "hull", "oracle", *simple],
        [
            [
                format_usd(point.budget_nanousd),
                format_usd(point.spent_nanousd),
                *map(_figure, (point.quality, point.hull, point.oracle)),
                *(_figure(point.rivals[name]) for name in simple),
            ]
            for point in report.points
        ]
        + [["nAUC", "", *map(_figure, (report.nauc, 0.0, 1.0)), *_naucs(report, simple)]],
        right="rrrrrrrr",
    )
    click.echo()
    print_table(
        ["By confidence", *cascades.values()],
        [
            [
                format_usd(point.budget_nanousd),
                *(_figure(point.rivals[name]) for name in cascades),
            ]
            for point in report.points
        ]
        + [["nAUC", *_naucs(report, tuple(cascades))]],
        right="r",
    )
    click.echo()
    print_table(["Summary", ""], _summary(report, given))


def _naucs(report: ReplayReport, names: tuple[str, ...]) -> list[str]:
    return [_figure(report.rival_naucs[name]) for name in names]


def _summary(report: ReplayReport, given: dict[str, Any]) -> list[list[str]]:
    low, high = map(_figure, (report.nauc_low, report.nauc_high))
    return [
        ["Set", report.name],
        ["Jobs", f"{report.n_rows:,} rows, {len(report.points)} budgets, {given['seeds']} seeds"],
        ["Labels", given["labels"]],
        ["nAUC", f"{_figure(report.nauc)} (95 % interval: {low} to {high})"],
        ["Least margin over hull", _figure(report.min_margin_over_hull)],
        ["Jobs over budget", f"{report.violations:,}"],
        ["Rows without an answer", f"{report.unanswered:,}"],
        ["Unspent", f"{report.unspent_share:.1%}"],
    ]


def _figure(value: float) -> str:
    return quality_text(None if math.isnan(value) else value)
