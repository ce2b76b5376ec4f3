"""When two answers say the same: a number that is equal for them, so that nobody has to compare texts."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from cascade_batch.domain.job import Output
from cascade_batch.quality.text import normalise

LONGEST_COMPARED = 1000
"""Characters of the longest text that is compared. Two essays never say the same in the same words, whether
they are right or not: that they differ is no evidence."""
_LABEL_CHARS = 64
"""Texts up to this length are labels more often than not, said over and over again: their keys are kept."""


def value_key(value: Any, text: str, output: Output) -> int:
    """A stable key of an answer's normalised value.

    Equal for: the same choice; numbers of the same value (1, 1.0, and the text "1.00"); JSON that is equal
    but for the order of keys, the writing of numbers and the field for confidence; texts that `normalise`
    makes the same (case, white space, punctuation and articles apart).

    Args:
        value: The parsed value; None where the text does not fit the output, and for a JSON null.
        text: The answer's text; compared where there is no value and any text fits.
        output: The declared output; keys of different outputs mean nothing to each other.

    Returns:
        A signed number of 64 bits, which two different values share by accident once in 10^19 pairs; 0
        where there is nothing to compare: no value, an empty text, or one that is too long.
    """
    if value is None:
        if not output.is_free_text:
            return 0
        value = text
    if output.confidence is not None and isinstance(value, dict):
        value = {name: part for name, part in value.items() if name != output.confidence}
    if isinstance(value, str):
        if output.choices is not None:
            return _key(value)
        if len(value) > LONGEST_COMPARED:
            return 0
        return _label_key(value) if len(value) <= _LABEL_CHARS else _key(normalise(value))
    try:
        return _key(json.dumps(canonical(value), sort_keys=True, separators=(",", ":")))
    except RecursionError:
        return 0


@lru_cache(maxsize=4096)
def _label_key(text: str) -> int:
    return _key(normalise(text))


def _key(text: str) -> int:
    if not text:
        return 0
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def canonical(value: Any) -> Any:
    """The JSON value with whole numbers as integers, so that 1.0 is written like 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [canonical(part) for part in value]
    if isinstance(value, dict):
        return {name: canonical(part) for name, part in value.items()}
    return value
