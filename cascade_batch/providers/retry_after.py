"""How long a provider asks to be left alone."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 86_400.0
"""Longer waits are cut to a day: past that it is no rate limit but a closed account or a wrong clock."""

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|h|m|s))", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_EPOCH_S = 1e9
_EPOCH_MS = 1e12

_RESETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
"""What is left of a limit, and when it is whole again."""


def retry_after_s(headers: Mapping[str, str], *, limited: bool) -> float | None:
    """Seconds to wait before the next call, from 0 to a day; None if the headers don't say.

    `retry-after-ms` is the most exact, `Retry-After` (seconds or an HTTP date) the standard. Where
    neither is given and the call was refused for a limit (`limited`), the limit that is used up
    says when it is whole again; where none is marked as used up, the one that recovers first.
    Other refusals carry the state of the limits too, but it is not what they wait for.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000.0)
    stated = headers.get("Retry-After")
    if stated is not None:
        seconds = _number(stated)
        if seconds is None:
            seconds = _until(_http_date(stated), headers)
        if seconds is not None:
            return _bounded(seconds)
    return _from_resets(headers) if limited else None


def _from_resets(headers: Mapping[str, str]) -> float | None:
    used_up: list[float] = []
    others: list[float] = []
    for remaining_name, reset_name in _RESETS:
        wait_s = _reset(headers.get(reset_name), headers)
        if wait_s is None:
            continue
        remaining = _number(headers.get(remaining_name))
        (used_up if remaining is not None and remaining <= 0 else others).append(wait_s)
    if used_up:
        return _bounded(max(used_up))
    return _bounded(min(others)) if others else None


def _reset(text: str | None, headers: Mapping[str, str]) -> float | None:
    """A duration (`1m2.5s`), a number of seconds, a time since the epoch in s or ms, or a date."""
    if text is None:
        return None
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_MS:
            return number / 1000.0 - time.time()
        return number - time.time() if number >= _EPOCH_S else number
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text:
        return sum(float(value) * _UNIT_S[unit] for value, unit in parts)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _until(when if when.tzinfo else when.replace(tzinfo=UTC), headers)


def _http_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _until(when: datetime | None, headers: Mapping[str, str]) -> float | None:
    if when is None:
        return None
    # The server's own clock, where it shows it: the difference is what it means.
    now = _http_date(headers.get("Date")) or datetime.now(UTC)
    return (when - now).total_seconds()


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_WAIT_S)
