"""How a number of things is written."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 row`, `1,234 rows`.

    Args:
        one: What one of them is called.
        many: What several are called; None: the same with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
