"""Values with their keys where the job's schema has them: the database keeps no order of keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson

from cascade_batch.domain.job import Output
from cascade_batch.domain.output_columns import KeyOrder

# What a float may not hold: such numbers stay as they are written.
_MANY_DIGITS = re.compile(r"[\d.]{16}")


def value_reader(output: Output) -> Callable[[str], Any]:
    """What turns a value's JSON text into what orjson writes: the very text where no schema names keys."""
    order = KeyOrder.of(output.json_schema)
    if order is None:
        return orjson.Fragment

    def read(text: str) -> Any:
        return order.sorted(exact_json(text))

    return read


def exact_json(text: str) -> Any:
    """What orjson writes as this JSON: numbers with all their digits."""
    if _MANY_DIGITS.search(text):
        return json.loads(text, parse_int=orjson.Fragment, parse_float=orjson.Fragment)
    return orjson.loads(text)
