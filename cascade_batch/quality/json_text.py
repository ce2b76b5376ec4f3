"""JSON in an answer's text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from cascade_batch.domain.text import clean_text

MAX_DEPTH = 100
"""Deepest nesting of a value; what stores and shows it gives up not far beyond."""
# Line ends belong to the block: a repeat over them would look for the end from each of a million.
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[^\S\n]*\n(.*?)```", re.DOTALL)
_MAX_STARTS = 64
"""How many opening brackets of a text are tried: bounds the work on a text full of them."""


def json_values(text: str) -> Iterator[Any]:
    """The JSON values that a text may mean, likeliest first: all of it, a fenced block of it, then
    each object or list in it that is not a part of one before.

    Raises:
        RecursionError: One is nested more than `MAX_DEPTH` levels deep.
    """
    text = text.strip()
    try:
        yield _decode(text)
        return
    except (ValueError, RecursionError):
        pass
    for block in _FENCE.findall(text):
        try:
            yield _decode(block.strip())
        except (ValueError, RecursionError):
            continue
    at = 0
    for _ in range(_MAX_STARTS):
        start = _BRACKET.search(text, at)
        if start is None:
            return
        try:
            value, at = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
        else:
            yield _storable(value, text)


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return bool(a == b)


def _decode(text: str) -> Any:
    return _storable(_DECODER.decode(text), text)


def _storable(value: Any, text: str) -> Any:
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _refuse_deep(value)
    # Only an escape can bring in a character that the text itself, cleaned already, does not hold.
    return _clean(value) if "\\u" in text else value


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            part
            for outer in level
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise RecursionError("the value is nested too deep")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(part) for part in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(part) for key, part in value.items()}
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


_BRACKET = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
