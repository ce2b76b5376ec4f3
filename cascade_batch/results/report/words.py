"""How numbers, times and texts of a report are written."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from cascade_batch.domain.money import NANOUSD_PER_USD, format_usd

TEXT_CHARACTERS = 320
"""What is shown of a text: enough to see what it is about."""


def cut(text: str | None, characters: int = TEXT_CHARACTERS) -> str:
    """The text in one paragraph, without control characters, cut where it is too long."""
    shown = "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
        for c in text or ""
    )
    shown = " ".join(shown.split())
    return shown if len(shown) <= characters else shown[: characters - 1].rstrip() + "…"


def usd(nanousd: int) -> str:
    """Dollars with sensible digits."""
    return format_usd(nanousd)


def usd_tick(usd_amount: float, step: float | None = None) -> str:
    """Dollars at a chart's axis: as short as they can be, and never in powers of ten.

    Args:
        step: From one tick to the next: all are written with the places that it needs. None: this tick has
            as many as it needs itself.
    """
    if not usd_amount:
        return "$0"
    return f"${usd_amount:,.{_places(step or usd_amount)}f}"


def _places(usd_amount: float) -> int:
    exponent = Decimal(f"{usd_amount:.3g}").normalize().as_tuple().exponent
    places = -exponent if isinstance(exponent, int) else 0
    # Tenths of a dollar are written as cents.
    return 0 if places <= 0 else min(max(places, 2), 12)


def per_1000(nanousd: int, number: int) -> str:
    """The price of a thousand, if so many cost so much."""
    return usd(round(1000 * nanousd / number)) if number else "-"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as per cent; `-` where it is not known."""
    return "-" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def part(amount: float, whole: float) -> str:
    """How much of the whole, as per cent."""
    if not whole or not amount:
        return "0\N{NO-BREAK SPACE}%"
    share = amount / whole
    return "under 0.1\N{NO-BREAK SPACE}%" if share < 0.001 else percent(share)


def latency(ms: float | None) -> str:
    """A latency with its unit."""
    if ms is None:
        return "-"
    if ms < 1_000:
        return f"{ms:,.0f} ms"
    return f"{ms / 1000:.2g} s" if ms < 10_000 else f"{ms / 1000:,.0f} s"


def duration(seconds: float) -> str:
    """A time span in the two units that matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, name, smaller, smaller_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            rest //= smaller
            return f"{whole} {name} {rest} {smaller_name}" if rest else f"{whole} {name}"
    return f"{seconds:.0f} s"


def moment(at: datetime) -> str:
    """A time, in UTC, to the minute."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def probability_of(logprob: float | None) -> str:
    """A log-probability as the confidence that it stands for."""
    return "" if logprob is None else percent(math.exp(logprob), 0)


def row_text(fields: dict[str, Any] | None, raw: str, *, hidden: Collection[str] = ()) -> str:
    """What a row asks, readable: the prompt or last message where it is one, else its columns.

    Args:
        fields: The row's columns; None where they are too long to be read.
        raw: The beginning of the row as JSON.
        hidden: Columns that the reader is told of elsewhere.
    """
    if fields is None:
        return cut(raw)
    body = fields.get("body")
    messages = (body if isinstance(body, dict) else fields).get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return cut(_plain(messages[-1].get("content")))
    if isinstance(fields.get("prompt"), str):
        return cut(fields["prompt"])
    told = [
        f"{name}: {_plain(value)}"
        for name, value in fields.items()
        if value is not None and name not in hidden
    ]
    return (
        cut(raw)
        if not told
        else cut(told[0].partition(": ")[2] if len(told) == 1 else " · ".join(told))
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def to_nanousd(usd_amount: float) -> int:
    """Nano-dollars of an amount that JSON holds."""
    return round(usd_amount * NANOUSD_PER_USD)
