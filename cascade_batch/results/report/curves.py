"""Charts of curves: quality against money, and money against time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.results.report import canvas, words
from cascade_batch.results.report.bars import Chart
from cascade_batch.results.report.facts import SpendStep, TierFacts

_Z_90 = 1.645
_FAR = 5
"""A budget of so many times what was spent is not drawn."""


@dataclass(frozen=True, slots=True)
class TierPoint:
    """All rows on one tier: what that would cost, and how many of its answers are right, with an interval.

    Attributes:
        rows: On how many rows that was seen.
    """

    name: str
    tier_no: int
    cost_nanousd: int
    share: float
    low: float
    high: float
    rows: int

    @property
    def seen(self) -> str:
        """The share, and on how many rows it was seen."""
        return f"{words.percent(self.share, 0)} of {counted(self.rows, 'row')}"

    @property
    def interval(self) -> str:
        """The interval in words."""
        return f"90 % interval: {words.percent(self.low, 0)} to {words.percent(self.high, 0)}"


def interval_90(hits: int, rows: int) -> tuple[float, float]:
    """Wilson's 90 % interval of a share."""
    share, z2 = hits / rows, _Z_90**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z_90 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return middle - half, middle + half


def quality_against_money(
    frontier: dict[str, Any],
    points: Sequence[TierPoint],
    here: tuple[int, float] | None,
) -> Chart:
    """The frontier with its interval where it is measured, tiers as points, and where the job stands.

    Args:
        here: What was spent, in nano-dollars, and what is held for it.
    """
    curve = frontier["points"]
    measured = frontier["measured"]
    name = "expected quality" if measured else "expected (unmeasured)"
    title = (
        "Expected quality at other budgets"
        if measured
        else "What the planner expects at other budgets (unmeasured)"
    )
    text = (
        f"A curve from {words.percent(curve[0]['quality'])} for {_usd(curve[0]['budget_usd'])} to"
        f" {words.percent(curve[-1]['quality'])} for {_usd(curve[-1]['budget_usd'])}."
    )
    if here is not None:
        text += f" The job stands at {words.percent(here[1])} for {words.usd(here[0])}."

    def draw(figure: Any, axes: Any, narrow: bool) -> None:
        _draw_frontier(axes, curve, measured=measured)
        axes.set_xscale("log")
        axes.margins(y=0.12)
        _draw_tiers(axes, points, narrow=narrow)
        _draw_budget(axes, frontier["budget_usd"])
        if here is not None:
            axes.plot(
                here[0] / NANOUSD_PER_USD, here[1], "D", color=canvas.ACCENT, markersize=9,
                markeredgecolor=canvas.PAPER, label="this job", zorder=6,
            )  # fmt: skip
        axes.set_xlabel("dollars for the whole job (logarithmic)")
        axes.set_ylabel(name)
        canvas.log_axis(axes.xaxis, words.usd_tick, narrow=narrow)
        _percent_axis(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=1 if narrow else 4, fontsize=9)

    svg = canvas.drawn("frontier", title, text, draw, (4.3, 4.2))
    return Chart(
        title,
        text,
        svg,
        *_frontier_table(frontier, points, name),
        _note(measured=measured, has_points=bool(points), has_here=here is not None),
    )


def _note(*, measured: bool, has_points: bool, has_here: bool) -> str:
    if not measured:
        return (
            "These numbers put budgets in order. They do not say how good this job's answers are."
        )
    said = []
    if has_points:
        said.append(
            "A dot: all rows on that tier alone, judged by rows that nobody chose for it; the figures say by"
            " how many. Its line: the 90 % interval."
        )
    if has_here:
        said.append(
            "The diamond is the mean quality of the answers that the job has; the curve is expected of all"
            " rows, and follows the known right answers more closely than a single answer's quality does, so"
            " that the two may differ a little."
        )
    return " ".join(said)


def _draw_budget(axes: Any, usd: float) -> None:
    axes.axvline(usd, color=canvas.MUTED, linewidth=1, linestyle=(0, (4, 3)))
    left, right = axes.get_xlim()
    is_right = math.log(usd / left) > 0.8 * math.log(right / left)
    axes.annotate(
        "budget",
        (usd, 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if is_right else 4, 4),
        textcoords="offset points",
        ha="right" if is_right else "left",
        fontsize=9,
        color=canvas.MUTED,
    )


def _draw_frontier(axes: Any, curve: list[dict[str, Any]], *, measured: bool) -> None:
    money = [point["budget_usd"] for point in curve]
    if measured:
        axes.fill_between(
            money,
            [point["low"] for point in curve],
            [point["high"] for point in curve],
            color=canvas.ACCENT,
            alpha=0.16,
            linewidth=0,
            label="90 % interval",
        )
    axes.plot(
        money, [point["quality"] for point in curve], color=canvas.ACCENT, linewidth=2.2,
        label="the planner, at other budgets" if measured else "the planner's expectation, unmeasured",
    )  # fmt: skip
    unsupported = [point for point in curve if not point["supported"]]
    if unsupported:
        axes.plot(
            [point["budget_usd"] for point in unsupported],
            [point["quality"] for point in unsupported],
            "o",
            color=canvas.PAPER,
            markeredgecolor=canvas.ACCENT,
            label="too few answers seen",
        )


def _draw_tiers(axes: Any, points: Sequence[TierPoint], *, narrow: bool) -> None:
    amounts = [point.cost_nanousd / NANOUSD_PER_USD for point in points]
    left, right = min([axes.get_xlim()[0], *amounts]), max([axes.get_xlim()[1], *amounts])
    middle = sum(axes.get_ylim()) / 2
    for point in points:
        usd = point.cost_nanousd / NANOUSD_PER_USD
        axes.errorbar(
            usd,
            point.share,
            yerr=[[max(point.share - point.low, 0)], [max(point.high - point.share, 0)]],
            fmt="o",
            markersize=8,
            color=canvas.tier_colour(point.tier_no),
            markeredgecolor=canvas.INK,
            markeredgewidth=0.8,
            elinewidth=1.2,
            capsize=3,
            ecolor=canvas.MUTED,
            zorder=5,
        )
        # Beyond the end of its interval, where there is room in the chart.
        is_right = math.log(usd / left) > 0.5 * math.log(right / left)
        is_high = point.share > middle
        axes.annotate(
            f"{words.cut(point.name, 20)}: {words.percent(point.share, 0) if narrow else point.seen}",
            (usd, point.low if is_high else point.high),
            xytext=(4 if is_right else -4, -5 if is_high else 5),
            textcoords="offset points",
            ha="right" if is_right else "left",
            va="top" if is_high else "bottom",
            fontsize=9,
            bbox={"facecolor": canvas.PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
            zorder=7,
        )


def _frontier_table(
    frontier: dict[str, Any], points: Sequence[TierPoint], name: str
) -> tuple[list[str], list[list[str]]]:
    measured = frontier["measured"]
    rows = []
    for point in frontier["points"]:
        notes = ["this job's budget"] * (point["budget_usd"] == frontier["budget_usd"])
        notes += [] if point["supported"] else ["too few answers seen"]
        rows.append(
            [
                _usd(point["budget_usd"]),
                words.percent(point["quality"]),
                f"{words.percent(point['low'])} to {words.percent(point['high'])}"
                if measured
                else "unmeasured",
                ", ".join(notes),
            ]
        )
    rows += [
        [
            words.usd(point.cost_nanousd),
            words.percent(point.share),
            f"{words.percent(point.low)} to {words.percent(point.high)}",
            f"all rows on {point.name}, seen on {counted(point.rows, 'row')}",
        ]
        for point in points
    ]
    return ["Budget", name.capitalize(), "90 % interval", ""], rows


def money_over_time(
    steps: Sequence[SpendStep], tiers: Sequence[TierFacts], *, budget_nanousd: int
) -> Chart:
    """What was spent by when, tier upon tier, and what is at risk, against the budget."""
    times = [step.at for step in steps]
    origin = times[0]
    seconds = [(at - origin).total_seconds() for at in times]
    unit, unit_s = _time_unit(seconds[-1])
    x = [s / unit_s for s in seconds]
    spent = [_summed([step.spent_nanousd.get(no, 0) for step in steps]) for no in range(len(tiers))]
    at_risk = _summed([step.at_risk_nanousd for step in steps])
    budget = _summed([step.budget_nanousd for step in steps])
    total = [sum(amounts) for amounts in zip(*spent, strict=True)]
    title = "Spent over time, beside the budget"
    text = (
        f"Areas, tier upon tier, from {words.moment(origin)} for {words.duration(seconds[-1])}:"
        f" {words.usd(total[-1])} spent in the end, of a budget of {words.usd(budget_nanousd)}."
    )
    most = max(a + b for a, b in zip(total, at_risk, strict=True))
    # Beside a budget that was hardly used, nobody could see what was spent.
    is_far = max(budget) > _FAR * most > 0

    def draw(figure: Any, axes: Any, narrow: bool) -> None:
        _draw_layers(axes, x, spent, tiers)
        if any(at_risk):
            base = [a / NANOUSD_PER_USD for a in total]
            top = [b + max(r, 0) / NANOUSD_PER_USD for b, r in zip(base, at_risk, strict=True)]
            name = "at risk" if narrow else "at risk (may have been billed)"
            axes.fill_between(x, base, top, color=canvas.BAD, linewidth=0, label=name)
        if not is_far:
            limit = [b / NANOUSD_PER_USD for b in budget]
            axes.step(x, limit, where="post", color=canvas.INK, linewidth=1.6, label="budget")
        axes.set_xlim(0, x[-1])
        axes.set_ylim(0, (most if is_far else max(budget)) / NANOUSD_PER_USD * 1.08)
        axes.set_xlabel(f"{unit} since {words.moment(origin)}")
        axes.set_ylabel("dollars")
        canvas.money_axis(axes.yaxis)
        figure.legend(
            loc="outside upper left", ncols=2 if narrow else 5, fontsize=9, columnspacing=1.4
        )

    svg = canvas.drawn("time", title, text, draw, (3.9, 3.6))
    every = max(len(steps) // 12, 1)
    rows = [
        [words.duration(seconds[i]), *map(words.usd, (total[i], at_risk[i], budget[i]))]
        for i in sorted({*range(0, len(steps), every), len(steps) - 1})
    ]
    far = f"The budget, {words.usd(budget_nanousd)}, is far above the top of the chart."
    columns = ["After", "Spent", "At risk", "Budget"]
    return Chart(title, text, svg, columns, rows, far if is_far else "")


def _draw_layers(
    axes: Any, x: Sequence[float], spent: Sequence[Sequence[int]], tiers: Sequence[TierFacts]
) -> None:
    layers = [[a / NANOUSD_PER_USD for a in one] for one in spent]
    shown = [no for no, one in enumerate(layers) if one[-1]] or [0]
    axes.stackplot(
        x,
        [layers[no] for no in shown],
        labels=[words.cut(tiers[no].name, 20) for no in shown],
        colors=[canvas.tier_colour(no) for no in shown],
        linewidth=0,
    )


def _summed(amounts: Sequence[int]) -> list[int]:
    total, sums = 0, []
    for amount in amounts:
        total += amount
        sums.append(total)
    return sums


def _usd(amount: float) -> str:
    return words.usd(words.to_nanousd(amount))


def _time_unit(longest_s: float) -> tuple[str, float]:
    for name, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if longest_s > 2 * size:
            return name, size
    return "seconds", 1.0


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def at_moment(text: str | None) -> datetime | None:
    """A time as `status` gives it."""
    return None if text is None else datetime.fromisoformat(text)
