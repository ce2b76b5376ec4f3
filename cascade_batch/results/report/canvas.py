"""From a drawing to SVG that lives in a page: its colours are the page's, its words are text.

Matplotlib draws with colours that stand for roles; in the SVG each becomes a CSS variable, so that a page
has the same charts on paper, by day and in the dark. Names of things inside an SVG are made its own, as all
charts share one page. Every chart is drawn twice, wide and narrow: shrunk to a telephone, the letters of a
wide one can't be read. The page shows the one that fits, and no chart scrolls.
"""

from __future__ import annotations

import colorsys
import io
import logging
import math
import re
from collections.abc import Callable
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
_WIDE_IN, _NARROW_IN = 9.0, 4.2
"""Widths of a chart: its letters have the size of the page's where it is shown as wide as this."""
_TICKS = {False: 10, True: 5}
"""Labels of an axis that have room beside each other, wide and narrow."""
Draw = Callable[[Any, Any, bool], None]
"""Draws on a figure and its axes; the last argument is whether they are narrow."""
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


def money_axis(axis: Any, *, narrow: bool = False) -> None:
    """Ticks in dollars, few of them.

    Args:
        narrow: Whether they stand beside each other with little room.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4 if narrow else 6))

    def write(value: float, _: Any) -> str:
        ticks = axis.get_majorticklocs()
        return words.usd_tick(value, ticks[1] - ticks[0] if len(ticks) > 1 else None)

    axis.set_major_formatter(FuncFormatter(write))


def log_axis(axis: Any, write: Callable[[float], str], *, narrow: bool) -> None:
    """Ticks of a lying logarithmic axis, as many as there is room for. Its ends have to be known.

    Args:
        write: Makes a tick's label.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    steps = next((s for s in ((1, 2, 5), (1, 3)) if decades * len(s) <= _TICKS[narrow]), (1,))
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def drawn(name: str, title: str, text: str, draw: Draw, heights_in: tuple[float, float]) -> Markup:
    """A chart as two `<svg>` elements, of the classes `wide` and `narrow`.

    Args:
        name: What the names of its parts begin with.
        text: What there is to see, for those who don't.
        draw: Called once for each width.
        heights_in: Of the wide and of the narrow drawing, in inches.
    """
    # It warns of a home that it can't write to, which is none of the user's concern here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = Markup()
    for narrow, height_in in zip((False, True), heights_in, strict=True):
        width_in = _NARROW_IN if narrow else _WIDE_IN
        with mpl.rc_context(_SETTINGS):
            figure = Figure(figsize=(width_in, height_in), layout="constrained")
            draw(figure, figure.add_subplot(), narrow)
            found += to_svg(
                figure, f"{name}-narrow" if narrow else name, title, text, narrow=narrow
            )
    return found


def to_svg(figure: Any, name: str, title: str, text: str, *, narrow: bool) -> Markup:
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
    shape = "narrow" if narrow else "wide"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' {size.group() if size else ""} class="{shape}" role="img"'
        f' aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(text)}</desc>'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1))  # noqa: S704


def _variable(found: re.Match[str]) -> str:
    if found.group(1) == "b":
        return f"var(--tier-{int(found.group(2), 16)})"
    return f"var(--{_NAMES[found.group()]})"
