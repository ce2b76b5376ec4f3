"""From a drawing to SVG that lives in a page: its colours are the page's, its words are text.

Matplotlib draws with colours that stand for roles; in the SVG each becomes a CSS variable, so that a page
has the same charts on paper, by day and in the dark. Names of things inside an SVG are made its own, as all
charts share one page.
"""

from __future__ import annotations

import colorsys
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from markupsafe import Markup, escape

from cascade_batch.results.report import words

INK, MUTED, GRID, PAPER, ACCENT = "#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005"
GOOD, BAD, SAME, UNKNOWN = "#0a0006", "#0a0007", "#0a0008", "#0a0009"
USES = ("#0a0010", "#0a0011", "#0a0012", "#0a0013")
"""First answers, further answers, second samples, verdicts."""
_NAMES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    ACCENT: "accent",
    GOOD: "good",
    BAD: "bad",
    SAME: "same",
    UNKNOWN: "unknown",
    **{colour: f"use-{i}" for i, colour in enumerate(USES)},
}
_ROLE = re.compile(r"#0([ab])00([0-9a-f]{2})")
_CHEAP, _DEAR = 0.78, 0.10
"""Ends of the colour map."""
_LIGHTER = 0.48
"""How far a colour goes towards white, in lightness alone, to be seen on black."""
WIDTH_IN = 9.0
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.color": PAPER,
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


def tier_colour(tier_no: int) -> str:
    """The colour that stands for a tier."""
    return f"#0b00{tier_no % 256:02x}"


def tier_colours(tiers: int) -> list[tuple[str, str]]:
    """For each tier the colours on a light and on a dark page; dearer is darker, as in grey on paper.

    Both have the same hue, so that two people who look at one report, one of them in the dark, can talk of
    "the purple one".
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["viridis"]
    found = []
    for no in range(tiers):
        place = no / max(tiers - 1, 1)
        red, green, blue, _ = scale(_CHEAP + (_DEAR - _CHEAP) * place)
        hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
        lighter = colorsys.hls_to_rgb(hue, lightness + (1 - lightness) * _LIGHTER, saturation)
        found.append((to_hex((red, green, blue)), to_hex(lighter)))
    return found


def money_axis(axis: Any, *, log: bool = False) -> None:
    """Ticks in dollars, few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(FuncFormatter(lambda value, _: words.usd_tick(value)))
        return
    axis.set_major_locator(MaxNLocator(6))

    def write(value: float, _: Any) -> str:
        ticks = axis.get_majorticklocs()
        return words.usd_tick(value, ticks[1] - ticks[0] if len(ticks) > 1 else None)

    axis.set_major_formatter(FuncFormatter(write))


@contextmanager
def drawing(height_in: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one pair of axes, in the report's style."""
    # It warns of a home that it can't write to, which is none of the user's concern here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        yield figure, figure.add_subplot()


def to_svg(figure: Any, name: str, title: str, text: str) -> Markup:
    """The figure as an `<svg>` element with a title and a description for those who don't see it.

    Args:
        figure: A Matplotlib figure, whose texts Matplotlib escapes.
        name: What the names of its parts begin with.
    """
    import matplotlib as mpl

    out = io.StringIO()
    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>\s*', "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = _ROLE.sub(_variable, svg)
    size = re.search(r'viewBox="[^"]*"', svg)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' {size.group() if size else ""} role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(text)}</desc>'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1))  # noqa: S704


def _variable(found: re.Match[str]) -> str:
    if found.group(1) == "b":
        return f"var(--tier-{int(found.group(2), 16)})"
    return f"var(--{_NAMES[found.group()]})"
