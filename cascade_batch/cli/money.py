"""A job's money by what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MONEY_PARTS = ("spent", "overrun", "at risk", "reserved", "free")
"""In the order in which money comes to rest; `free` goes up to the budget."""


def money_parts(status: Mapping[str, Any]) -> dict[str, int]:
    """Nano-dollars by part. They add up to the budget, unless more than that was billed.

    Args:
        status: As `job_status` gives it.
    """
    parts = {part: status[f"{part.replace(' ', '_')}_nanousd"] for part in MONEY_PARTS[:-1]}
    return {**parts, "free": max(status["budget_nanousd"] - sum(parts.values()), 0)}
