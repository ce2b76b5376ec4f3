"""What an answer of a recorded set says: its value, found in its text, so that answers can be compared.

A recorded set does not declare an output. So a value is looked for where models mark it:

1. a JSON object in the text (often in a fence, after reasoning) with the key `answer`, also where a model
   left out the quotes that would make it JSON;
2. "the answer is (X)", "Answer: X", where X is in parentheses, a single letter, or a number; the first of
   several, which is the one that recorded scores go by.

A marked value is compared as it is written, but for white space around punctuation and for quotes: it may
be code or a list, in which case and punctuation carry meaning. Where a set's answers mark none, the text
itself is the value, compared without case, punctuation and articles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson

from cascade_batch.policy.view import Bools, Keys
from cascade_batch.quality.json_text import json_values
from cascade_batch.quality.text import normalise

MARKED_SHARE = 0.5
"""From this share of answers with a marked value on, a set is taken to ask for one: an answer without one
does not fit there. In other sets the whole text is the value, and any text fits."""
LONGEST_COMPARED = 1000
"""Characters of the longest value that is compared: no two texts beyond it say the same in the same words."""

_KEY = '"answer"'
_UNQUOTED = re.compile(
    r'"answer"\s*:\s*(.{1,2000}?)\s*(?:\}\s*(?:```\s*)?\Z|\}\s*```|\Z)', re.DOTALL
)
_SAID = re.compile(
    r"answer(?:\s+is)?\s*:?\s*[*_]{0,2}(?:\(([^()\n]{1,60})\)|([A-Z]|[-+]?\d[\d,.]*)(?!\w))",
    re.IGNORECASE,
)
_SPACED = re.compile(r"\s*([,:()\[\]{}])\s*")


def read_values(texts: Sequence[str]) -> tuple[Keys, Bools]:
    """What the answers of one set say.

    Returns:
        Of each text the key of its value, which is equal for texts that say the same and 0 where there is
        nothing to compare; and whether the text fits: it holds a value where the set asks for one.
    """
    values = [marked_value(text) for text in texts]
    if sum(value is not None for value in values) < MARKED_SHARE * len(values):
        values = [normalise(text) or None for text in texts]
    else:
        values = [None if value is None else _plain(value) for value in values]
    keys = [0 if value is None else _key(value) for value in values]
    return np.array(keys, np.int64), np.array([value is not None for value in values], np.bool_)


def marked_value(text: str) -> str | None:
    """The value that a text marks as its answer; None where it marks none."""
    if _KEY in text:
        return _in_json(text)
    if "nswer" not in text and "NSWER" not in text:
        return None
    said = _SAID.search(text)
    return None if said is None else said[1] or said[2]


def _in_json(text: str) -> str | None:
    # The answer comes last, after reasoning that may hold objects of its own: start there, which also
    # spares looking at every bracket of the reasoning.
    start = text.rfind("{", 0, text.rfind(_KEY))
    end = text.rfind("}") + 1
    if 0 <= start < end:
        try:
            return _written(orjson.loads(text[start:end])["answer"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
    found = None
    try:
        for value in json_values(text):
            if isinstance(value, dict) and "answer" in value:
                found = _written(value["answer"])
    except RecursionError:
        return None
    if found is None and (unquoted := _UNQUOTED.search(text, text.rfind(_KEY))) is not None:
        found = unquoted[1]
    return found


def _written(value: Any) -> str | None:
    """A value as the text that another model might have written for it; None for a null."""
    return value if value is None or isinstance(value, str) else str(value)


def _plain(value: str) -> str:
    plain = _SPACED.sub(r"\1", " ".join(value.split())).replace('"', "'")
    if len(plain) > 1 and plain[0] == plain[-1] == "'":
        plain = plain[1:-1]
    return plain


def _key(value: str) -> int:
    if len(value) > LONGEST_COMPARED:
        return 0
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
