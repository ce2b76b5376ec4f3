"""What may be meant by a name that there is not: the nearest of those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def did_you_mean(given: str, known: Iterable[str], *, likeness: float = 0.7) -> str | None:
    """A question that names what is nearest; None where nothing is near.

    Args:
        likeness: How alike they have to be, from 0 to 1.
    """
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=likeness)
    return f"Did you mean {close[0]!r}?" if close else None


def file_beside(path: Path) -> str | None:
    """A question that names a file in the same folder with a similar name; None where there is none."""
    try:
        return did_you_mean(
            str(path), (str(path.with_name(one.name)) for one in path.parent.iterdir())
        )
    except (OSError, ValueError):
        return None
