"""Charts of bars: money by tier, and which tiers answered which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.results.report import canvas, words
from cascade_batch.results.report.facts import Facts

MOST_PATHS = 10
_NAME_CHARACTERS = {False: 28, True: 42}
"""Of a bar: wide at its left, narrow above it."""
_LEGEND_CHARACTERS = {False: 30, True: 40}
_BAR_IN = {False: 0.34, True: 0.52}
_AROUND_IN = 0.95
_USES = ("first answers", "further answers", "second samples", "verdicts of a judge")


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its figures.

    Attributes:
        title: What it shows.
        text: What there is to see, for those who don't.
        svg: Markup of the drawing.
        columns: Titles of the table beneath it.
        rows: The table's texts.
        note: What a reader has to know to read it.
    """

    title: str
    text: str
    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=tuple)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of all bars: its name in the legend, its colour, and its length in each bar."""

    name: str
    colour: str
    sizes: Sequence[float]


def spend_by_tier(facts: Facts) -> Chart:
    """What was bought of each tier, in money."""
    used = [_uses(facts, tier_no) for tier_no in range(len(facts.tiers))]
    parts = [
        Part(name, canvas.USES[use], [one[use] / NANOUSD_PER_USD for one in used])
        for use, name in enumerate(_USES)
    ]
    shown = [part for part in parts if any(part.sizes)] or parts[:1]
    title = "Spent by tier"
    most = max(facts.tiers, key=lambda tier: tier.spent_nanousd)
    total = sum(tier.spent_nanousd for tier in facts.tiers)
    text = (
        f"Bars, one per tier, cheap to dear. Most went to {most.name}: {words.usd(most.spent_nanousd)},"
        f" {words.part(most.spent_nanousd, total)} of all."
    )
    svg = draw_bars(
        "spend",
        title,
        text,
        [tier.name for tier in facts.tiers],
        shown,
        [words.usd(tier.spent_nanousd) for tier in facts.tiers],
        money=True,
    )
    rows = [
        [tier.name, *(words.usd(amount) for amount in one), words.usd(tier.spent_nanousd)]
        for tier, one in zip(facts.tiers, used, strict=True)
    ]
    return Chart(title, text, svg, ["Tier", *(name.capitalize() for name in _USES), "Total"], rows)


def _uses(facts: Facts, tier_no: int) -> tuple[int, int, int, int]:
    first = sum(flow.first_nanousd for flow in facts.flows if flow.path[0] == tier_no)
    samples = facts.samples_nanousd.get(tier_no, 0)
    verdicts = facts.verdicts_nanousd.get(tier_no, 0)
    further = facts.tiers[tier_no].spent_nanousd - first - samples - verdicts
    return first, max(further, 0), samples, verdicts


def flow_of_rows(facts: Facts, *, failed: int, pending: int) -> Chart:
    """Which tiers answered how many rows, and whose answer is final."""
    ways: dict[tuple[int, ...], dict[int, int]] = {}
    for flow in facts.flows:
        stands = ways.setdefault(flow.path, {})
        stands[flow.stands] = stands.get(flow.stands, 0) + flow.rows
    ordered = sorted(ways.items(), key=lambda way: -sum(way[1].values()))
    names = [_path_name(facts, path) for path, _ in ordered[:MOST_PATHS]]
    bars = [stands for _, stands in ordered[:MOST_PATHS]]
    if rest := ordered[MOST_PATHS:]:
        names.append(counted(len(rest), "other order"))
        bars.append(
            {
                no: sum(stands.get(no, 0) for _, stands in rest)
                for no in {n for _, stands in rest for n in stands}
            }
        )
    parts = [
        Part(f"final: {tier.name}", canvas.tier_colour(no), [float(b.get(no, 0)) for b in bars])
        for no, tier in enumerate(facts.tiers)
        if any(b.get(no) for b in bars)
    ]
    for name, number, colour in (
        ("failed", failed, canvas.BAD),
        ("still to come", pending, canvas.SAME),
    ):
        if number:
            parts = [Part(p.name, p.colour, [*p.sizes, 0.0]) for p in parts]
            parts.append(Part(name, colour, [0.0] * len(names) + [float(number)]))
            names.append("no answer" if name == "failed" else "not yet answered")
            bars.append({-1: number})
    totals = [sum(bar.values()) for bar in bars]
    title = "Which tiers answered, in which order, and whose answer is final"
    text = "Bars, one per order of tiers, the most rows first. " + "; ".join(
        f"{name}: {counted(total, 'row')}"
        for name, total in zip(names[:3], totals[:3], strict=True)
    )
    labels = [f"{total:,}" for total in totals]
    svg = draw_bars("flow", title, f"{text}.", names, parts, labels)
    rows = [
        [_path_name(facts, path), facts.tiers[no].name, f"{number:,}"]
        for path, stands in ordered[:50]
        for no, number in sorted(stands.items())
    ]
    return Chart(
        title, f"{text}.", svg, ["Answered by, in this order", "Final answer", "Rows"], rows
    )


def _path_name(facts: Facts, path: Sequence[int]) -> str:
    return " → ".join(facts.tiers[no].name for no in path) + (" only" if len(path) == 1 else "")


def draw_bars(
    name: str,
    title: str,
    text: str,
    names: Sequence[str],
    parts: Sequence[Part],
    totals: Sequence[str],
    *,
    money: bool = False,
    legend: bool = True,
    counted: str = "rows",
) -> Markup:
    """Lying bars, the first on top, their sums at their ends; where they are narrow, names stand above."""
    has_legend = legend and len(parts) > 1
    columns = {narrow: _legend_columns(parts, narrow=narrow) for narrow in (False, True)}

    def draw(figure: Any, axes: Any, narrow: bool) -> None:
        _stack(axes, len(names), parts, narrow=narrow)
        ends = [sum(part.sizes[place] for part in parts) for place in range(len(names))]
        longest = max([*ends, 0.0]) or 1.0
        for place, (end, total) in enumerate(zip(ends, totals, strict=True)):
            axes.text(end + longest * 0.008, place, total, va="center", fontsize=9)
        shown = [words.cut(one, _NAME_CHARACTERS[narrow]) for one in names]
        axes.set_yticks(range(len(names)), [""] * len(names) if narrow else shown)
        if narrow:
            for place, one in enumerate(shown):
                axes.text(0, place - 0.28, one, va="bottom", fontsize=9)
        axes.set_ylim(len(names) - 0.45, -0.9 if narrow else -0.55)
        axes.set_xlim(0, longest * (1.24 if narrow else 1.12))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("dollars" if money else counted)
        _number_axis(axes.xaxis, money=money, narrow=narrow)
        if has_legend:
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(
                handles, [words.cut(label, _LEGEND_CHARACTERS[narrow]) for label in labels],
                loc="outside upper left", ncols=columns[narrow], fontsize=9, handlelength=1.0,
                columnspacing=1.4,
            )  # fmt: skip

    heights = [
        _AROUND_IN
        + _BAR_IN[narrow] * len(names)
        + (0.24 * -(-len(parts) // columns[narrow]) if has_legend else 0.0)
        for narrow in (False, True)
    ]
    return canvas.drawn(name, title, text, draw, (heights[0], heights[1]))


def _stack(axes: Any, bars: int, parts: Sequence[Part], *, narrow: bool) -> None:
    left = [0.0] * bars
    for part in parts:
        axes.barh(
            range(bars),
            part.sizes,
            left=left,
            color=part.colour,
            label=part.name,
            height=0.42 if narrow else 0.68,
            edgecolor=canvas.PAPER,
            linewidth=0.6,
        )
        left = [a + b for a, b in zip(left, part.sizes, strict=True)]


def _legend_columns(parts: Sequence[Part], *, narrow: bool) -> int:
    longest = max(len(part.name) for part in parts)
    if narrow:
        return 1 if longest > 20 else 2
    return 4 if longest <= 24 else 3


def _number_axis(axis: Any, *, money: bool, narrow: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if money:
        canvas.money_axis(axis, narrow=narrow)
        return
    axis.set_major_locator(MaxNLocator(4 if narrow else 6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
