"""Bars of a terminal: each part has a mark of its own, so that none needs colour to be told from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.text import Text


class Part(NamedTuple):
    """A part of a bar.

    Attributes:
        mark: One cell of it where the terminal writes Unicode.
        plain: One cell of it elsewhere.
        style: Its colour, by a name that light and dark terminals both have a legible colour for.
    """

    mark: str
    plain: str
    style: str


DONE = Part("█", "#", "green")
FAILED = Part("▚", "!", "red")
UNDER_WAY = Part("▒", "=", "magenta")
AHEAD = Part("░", ".", "default")
NOTHING = Part(" ", " ", "default")


def mark_of(part: Part, *, unicode: bool) -> str:
    """The part's mark, as the output can show it."""
    return part.mark if unicode else part.plain


def bar(values: Sequence[int], parts: Sequence[Part], width: int, *, unicode: bool) -> Text:
    """A bar of so many cells, shared out between the parts."""
    from rich.text import Text

    text = Text(no_wrap=True)
    for cells, part in zip(share_cells(values, width), parts, strict=True):
        text.append(mark_of(part, unicode=unicode) * cells, style=part.style)
    return text


def share_cells(values: Sequence[int], width: int) -> list[int]:
    """Share a bar's cells out: in proportion, and at least one for whatever is not nothing.

    All of the cells are given out unless all values are 0.
    """
    total = sum(values)
    if total == 0:
        return [0] * len(values)
    cells = [max(v * width // total, 1) if v else 0 for v in values]
    largest = max(range(len(values)), key=lambda i: values[i])
    cells[largest] += width - sum(cells)
    return cells
