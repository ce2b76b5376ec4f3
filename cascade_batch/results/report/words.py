"""How numbers, times and texts of a report are written."""

from __future__ import annotations

import math
from datetime import datetime
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


def usd_tick(usd_amount: float) -> str:
    """Dollars at a chart's axis: as short as they can be."""
    if abs(usd_amount) >= 1000:
        return f"${usd_amount:,.0f}"
    return f"${usd_amount:.4g}" if usd_amount else "$0"


def per_row(nanousd: int, rows: int) -> str:
    """The price of one row."""
    return usd(round(nanousd / rows)) if rows else "-"


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


def row_text(fields: dict[str, Any] | None, raw: str) -> str:
    """What a row asks, readable: the prompt or last message where it is one, else its columns.

    Args:
        fields: The row's columns; None where they are too long to be read.
        raw: The beginning of the row as JSON.
    """
    if fields is None:
        return cut(raw)
    body = fields.get("body")
    messages = (body if isinstance(body, dict) else fields).get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return cut(_plain(messages[-1].get("content")))
    if isinstance(fields.get("prompt"), str):
        return cut(fields["prompt"])
    told = [f"{name}: {_plain(value)}" for name, value in fields.items()]
    return cut(told[0].partition(": ")[2] if len(told) == 1 else " · ".join(told))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def to_nanousd(usd_amount: float) -> int:
    """Nano-dollars of an amount that JSON holds."""
    return round(usd_amount * NANOUSD_PER_USD)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 row`, `1,234 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
