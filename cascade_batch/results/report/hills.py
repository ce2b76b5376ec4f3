"""The chart of how long calls took: a hill for each tier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_batch.ledger.latency import RATIO, percentile_ms
from cascade_batch.results.report import canvas, words
from cascade_batch.results.report.bars import Chart
from cascade_batch.results.report.facts import TierFacts

_HILL = {False: 0.78, True: 0.58}
"""How high a hill is, of the distance between two: narrow, its tier's name stands above it."""


def latencies(tiers: Sequence[TierFacts]) -> Chart:
    """How long the calls to each tier took: a hill per tier, with median and 95th percentile."""
    shown = [(no, tier) for no, tier in enumerate(tiers) if sum(tier.latency_buckets)]
    marks = [
        tuple(percentile_ms(tier.latency_buckets, share) for share in (0.05, 0.5, 0.95, 0.99))
        for _, tier in shown
    ]
    title = "How long calls took, by tier"
    text = "Hills, one per tier. " + "; ".join(
        f"{tier.name}: half within {words.latency(p50)}, 95 % within {words.latency(p95)}"
        for (_, tier), (_, p50, p95, _) in zip(shown, marks, strict=True)
    )

    def draw(_: Any, axes: Any, narrow: bool) -> None:
        high, ends = _HILL[narrow], []
        for place, ((no, tier), (_, p50, p95, _)) in enumerate(zip(shown, marks, strict=True)):
            ends += _draw_hill(axes, tier.latency_buckets, place, high, canvas.tier_colour(no))
            for at, style in ((p50, "-"), (p95, ":")):
                axes.plot([at, at], [place, place - high], style, color=canvas.INK, linewidth=1.4)
        axes.set_xscale("log")
        axes.set_xlim(min(ends) / 1.1, max(ends) * 1.1)
        axes.set_ylim(len(shown) - 0.85, -0.95)
        names = [words.cut(tier.name, 40 if narrow else 28) for _, tier in shown]
        axes.set_yticks(range(len(shown)), [""] * len(names) if narrow else names)
        if narrow:
            for place, one in enumerate(names):
                axes.text(
                    0, place - high - 0.08, one, fontsize=9, transform=axes.get_yaxis_transform()
                )
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        between = "\n" if narrow else "; "
        axes.set_xlabel(
            f"time of a call (logarithmic){between}full line: median, dotted: 95th percentile"
        )
        canvas.log_axis(axes.xaxis, words.latency, narrow=narrow)

    heights = (1.0 + 0.55 * len(shown), 1.1 + 0.72 * len(shown))
    svg = canvas.drawn("latency", title, f"{text}.", draw, heights)
    rows = [
        [tier.name, f"{sum(tier.latency_buckets):,}", *(words.latency(mark) for mark in one)]
        for (_, tier), one in zip(shown, marks, strict=True)
    ]
    columns = ["Tier", "Calls", "5 % within", "Half within", "95 % within", "99 % within"]
    return Chart(title, f"{text}.", svg, columns, rows)


def _draw_hill(
    axes: Any, buckets: Sequence[int], place: int, high: float, colour: str
) -> list[float]:
    """Draw one; returns where it begins and ends, in milliseconds."""
    from matplotlib.colors import to_rgba

    first = next(i for i, count in enumerate(buckets) if count)
    last = max(i for i, count in enumerate(buckets) if count)
    highest = max(buckets)
    x = [RATIO**i for i in range(first, last + 2)]
    heights = [place - high * count / highest for count in buckets[first : last + 1]]
    axes.fill_between(
        x,
        [place] * len(x),
        [*heights, heights[-1]],
        step="post",
        facecolor=to_rgba(colour),
        linewidth=0,
    )
    return [x[0], x[-1]]
