"""Charts of bars: money by tier, the ways that rows took, why they were asked again and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.results.report import canvas, words
from cascade_batch.results.report.facts import Facts, Flow

MOST_PATHS = 10
_NAME_CHARACTERS = 28
_BAR_IN, _AROUND_IN = 0.34, 0.95
_USES = ("first answers", "further answers", "second samples", "verdicts of a judge")
CAUSES = {
    "check": "failed the check",
    "judge": "the judge said no",
    "unfit": "did not fit the output",
    "cut_off": "cut off at the token limit",
    "unsure": "confidence under 60 %",
    "rather_sure": "confidence 60 to 90 %",
    "sure": "confidence of 90 % and more",
    "passed": "had passed the check",
    "expected": "no confidence given",
}
"""What was wrong with, or doubtful about, the answer held when another was bought."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its figures.

    Attributes:
        title: What it shows.
        text: What there is to see, for those who don't.
        svg: Markup of the drawing.
        columns: Titles of the table beneath it.
        rows: The table's texts.
    """

    title: str
    text: str
    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of all bars: its name in the legend, its colour, and its length in each bar."""

    name: str
    colour: str
    sizes: Sequence[float]


def spend_by_tier(facts: Facts) -> Chart:
    """What was bought of each tier, in money."""
    used = [_uses(facts, tier_no) for tier_no in range(len(facts.tiers))]
    parts = [
        _Part(name, canvas.USES[use], [one[use] / NANOUSD_PER_USD for one in used])
        for use, name in enumerate(_USES)
    ]
    shown = [part for part in parts if any(part.sizes)] or parts[:1]
    title = "Spent by tier, in dollars"
    most = max(facts.tiers, key=lambda tier: tier.spent_nanousd)
    total = sum(tier.spent_nanousd for tier in facts.tiers)
    text = (
        f"Bars, one per tier, cheap to dear. Most went to {most.name}: {words.usd(most.spent_nanousd)},"
        f" {words.part(most.spent_nanousd, total)} of all."
    )
    svg = _bars(
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
    return Chart(title, text, svg, ["Tier", *(name.capitalize() for name in _USES), "Sum"], rows)


def _uses(facts: Facts, tier_no: int) -> tuple[int, int, int, int]:
    first = sum(flow.first_nanousd for flow in facts.flows if flow.path[0] == tier_no)
    samples = facts.samples_nanousd.get(tier_no, 0)
    verdicts = facts.verdicts_nanousd.get(tier_no, 0)
    further = facts.tiers[tier_no].spent_nanousd - first - samples - verdicts
    return first, max(further, 0), samples, verdicts


def flow_of_rows(facts: Facts, *, failed: int, pending: int) -> Chart:
    """Which tiers answered how many rows, and whose answer counts."""
    ways: dict[tuple[int, ...], dict[int, int]] = {}
    for flow in facts.flows:
        stands = ways.setdefault(flow.path, {})
        stands[flow.stands] = stands.get(flow.stands, 0) + flow.rows
    ordered = sorted(ways.items(), key=lambda way: -sum(way[1].values()))
    names = [_path_name(facts, path) for path, _ in ordered[:MOST_PATHS]]
    bars = [stands for _, stands in ordered[:MOST_PATHS]]
    if rest := ordered[MOST_PATHS:]:
        names.append(words.counted(len(rest), "other way"))
        bars.append(
            {
                no: sum(stands.get(no, 0) for _, stands in rest)
                for no in {n for _, stands in rest for n in stands}
            }
        )
    parts = [
        _Part(f"{tier.name} counts", canvas.tier_colour(no), [float(b.get(no, 0)) for b in bars])
        for no, tier in enumerate(facts.tiers)
        if any(b.get(no) for b in bars)
    ]
    for name, number, colour in (
        ("failed", failed, canvas.BAD),
        ("still to come", pending, canvas.SAME),
    ):
        if number:
            parts = [_Part(p.name, p.colour, [*p.sizes, 0.0]) for p in parts]
            parts.append(_Part(name, colour, [0.0] * len(names) + [float(number)]))
            names.append("no answer" if name == "failed" else "not yet answered")
            bars.append({-1: number})
    totals = [sum(bar.values()) for bar in bars]
    title = "Ways of the rows through the tiers, and whose answer counts"
    text = "Bars, one per way, the most rows first. " + "; ".join(
        f"{name}: {words.counted(total, 'row')}"
        for name, total in zip(names[:3], totals[:3], strict=True)
    )
    labels = [f"{total:,}" for total in totals]
    svg = _bars("flow", title, f"{text}.", names, parts, labels)
    rows = [
        [_path_name(facts, path), facts.tiers[no].name, f"{number:,}"]
        for path, stands in ordered[:50]
        for no, number in sorted(stands.items())
    ]
    return Chart(
        title, f"{text}.", svg, ["Answered by, in this order", "Whose answer counts", "Rows"], rows
    )


def causes_of_escalation(facts: Facts) -> Chart:
    """What was known of the answers that were held when more was asked for."""
    causes = [key for key in CAUSES if any(c.cause == key for c in facts.causes)]
    tiers = sorted({c.tier_no for c in facts.causes})
    rows = {(c.cause, c.tier_no): c.rows for c in facts.causes}
    parts = [
        _Part(
            f"sent to {facts.tiers[no].name}",
            canvas.tier_colour(no),
            [float(rows.get((cause, no), 0)) for cause in causes],
        )
        for no in tiers
    ]
    totals = [sum(rows.get((cause, no), 0) for no in tiers) for cause in causes]
    title = "Why rows were asked again: the answer held until then"
    first = max(zip(totals, causes, strict=True))
    text = (
        f"Bars, one per reason. The most frequent: {CAUSES[first[1]]},"
        f" {words.counted(first[0], 'escalation')}."
    )
    svg = _bars(
        "causes", title, text, [CAUSES[c] for c in causes], parts, [f"{n:,}" for n in totals]
    )
    table = [
        [CAUSES[cause], facts.tiers[no].name, f"{rows[cause, no]:,}"]
        for cause in causes
        for no in tiers
        if (cause, no) in rows
    ]
    return Chart(title, text, svg, ["The answer held until then", "Sent to", "Escalations"], table)


def outcomes(flows: Sequence[Flow]) -> dict[str, int]:
    """What became of the first answers of rows that several tiers answered, in rows."""
    found: dict[str, int] = {}
    for flow in flows:
        if len(flow.path) > 1:
            found[_outcome(flow)] = found.get(_outcome(flow), 0) + flow.rows
    return found


def _outcome(flow: Flow) -> str:
    if flow.first_right is not None and flow.final_right is not None:
        was, became = flow.first_right, flow.final_right
        return {
            (False, True): "wrong, became right",
            (True, False): "right, became wrong",
            (True, True): "right, stayed right",
            (False, False): "wrong, stayed wrong",
        }[was, became]
    if flow.changed is None:
        return "can't be compared"
    return "says something else" if flow.changed else "says the same"


def outcome_of_escalation(facts: Facts) -> Chart:
    """Whether asking again made a difference."""
    found = outcomes(facts.flows)
    colours = {
        "wrong, became right": canvas.GOOD,
        "right, stayed right": canvas.SAME,
        "wrong, stayed wrong": canvas.UNKNOWN,
        "right, became wrong": canvas.BAD,
        "says something else": canvas.ACCENT,
        "says the same": canvas.SAME,
        "can't be compared": canvas.UNKNOWN,
    }
    names = [name for name in colours if name in found]
    parts = [
        _Part(
            name,
            colours[name],
            [float(found[name]) if bar == place else 0.0 for bar in range(len(names))],
        )
        for place, name in enumerate(names)
    ]
    title = "What came of it: the answer that counts, beside the first one"
    text = (
        "Bars: " + "; ".join(f"{name}: {words.counted(found[name], 'row')}" for name in names) + "."
    )
    svg = _bars(
        "outcome", title, text, names, parts, [f"{found[n]:,}" for n in names], legend=False
    )
    total = sum(found.values())
    rows = [[name, f"{found[name]:,}", words.part(found[name], total)] for name in names]
    return Chart(title, text, svg, ["The first answer", "Rows", "Share"], rows)


def _path_name(facts: Facts, path: Sequence[int]) -> str:
    return " → ".join(facts.tiers[no].name for no in path) + (" only" if len(path) == 1 else "")


def _bars(
    name: str,
    title: str,
    text: str,
    names: Sequence[str],
    parts: Sequence[_Part],
    totals: Sequence[str],
    *,
    money: bool = False,
    legend: bool = True,
) -> Markup:
    """Lying bars, the first on top, with their sums at their ends."""
    columns = 4
    legend_lines = -(-len(parts) // columns) if legend and len(parts) > 1 else 0
    height = _AROUND_IN + _BAR_IN * len(names) + 0.24 * legend_lines
    with canvas.drawing(height) as (figure, axes):
        left = [0.0] * len(names)
        for part in parts:
            axes.barh(
                range(len(names)),
                part.sizes,
                left=left,
                color=part.colour,
                label=part.name,
                height=0.68,
                edgecolor=canvas.PAPER,
                linewidth=0.6,
            )
            left = [a + b for a, b in zip(left, part.sizes, strict=True)]
        longest = max([*left, 0.0]) or 1.0
        for place, (end, total) in enumerate(zip(left, totals, strict=True)):
            axes.text(end + longest * 0.008, place, total, va="center", fontsize=9)
        axes.set_yticks(range(len(names)), [words.cut(n, _NAME_CHARACTERS) for n in names])
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(0, longest * 1.12)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("dollars" if money else "rows")
        _number_axis(axes, money=money)
        if legend_lines:
            figure.legend(
                loc="outside upper left", ncols=columns, fontsize=9, handlelength=1.0,
                columnspacing=1.4,
            )  # fmt: skip
        return canvas.to_svg(figure, name, title, text)


def _number_axis(axes: Any, *, money: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=not money))
    write = words.usd_tick if money else "{:,.0f}".format
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
