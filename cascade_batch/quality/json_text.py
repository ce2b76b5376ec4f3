"""JSON in an answer's text, held against a schema (Draft 2020-12)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from cascade_batch.domain.text import clean_text
from cascade_batch.errors import UsageError
from cascade_batch.quality.schema_words import make_validator
from cascade_batch.quality.text import shorten

MAX_DEPTH = 100
"""Deepest nesting of a value; what stores and shows it gives up not far beyond."""
# Line ends belong to the block: a repeat over them would look for the end from each of a million.
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[^\S\n]*\n(.*?)```", re.DOTALL)
_MAX_STARTS = 64
"""How many opening brackets of a text are tried: bounds the work on a text full of them."""


def make_json_parser(schema: dict[str, Any], unfit: Callable[[str], Any]) -> Callable[[str], Any]:
    """The parser of an output with a schema. The validator is compiled here, once.

    `format` is a note to the reader in JSON Schema and is not enforced.

    Args:
        schema: The schema as declared.
        unfit: Makes what is returned for a text that does not fit, from the reason.

    Raises:
        UsageError: The schema is no valid one, or refers to a schema that it does not hold.
    """
    validator = _make_validator(schema)

    def parse(text: str) -> Any:
        error: ValidationError | None = None
        try:
            for value in json_values(text):
                found = next(validator.iter_errors(value), None)
                if found is None:
                    return value
                error = error or found
        except RecursionError:
            return unfit("the answer's JSON is nested too deeply")
        except OverflowError:
            return unfit("the answer's JSON holds a number that is too large to be checked")
        if error is not None:
            return unfit(_describe(error))
        if not text.strip():
            return unfit("the answer is empty")
        return unfit(f"the answer {shorten(text.strip(), 60)} holds no JSON")

    return parse


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


def _make_validator(schema: dict[str, Any]) -> Validator:
    try:
        Draft202012Validator.check_schema(schema)
    except RecursionError:
        raise UsageError("output.schema is nested too deep.") from None
    except SchemaError as error:
        raise UsageError(
            f"output.schema is no valid JSON schema at {error.json_path}: {_short(error.message)}.",
            hint="Schemas follow JSON Schema, Draft 2020-12.",
        ) from None
    # A registry of its own holds nothing and fetches nothing: a reference out of the schema fails here
    # and never becomes a request to whatever host it names.
    registry: Registry[Any] = Registry()
    try:
        resolver = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    except ValueError as error:
        raise UsageError(f"output.schema has an $id that is none: {error}.") from None
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except (Unresolvable, ValueError):
            raise UsageError(
                f"output.schema refers to {shorten(reference)}, which it does not hold.",
                hint="Put the schema under $defs and refer to it as #/$defs/NAME.",
            ) from None
    validator = make_validator(schema, registry)
    try:
        # What refers to itself and to nothing else does so whatever the value is.
        any(validator.iter_errors(None))
    except RecursionError:
        raise UsageError("output.schema refers to itself without end.") from None
    return validator


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, part in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(part, str):
                yield part
            elif key not in ("const", "enum", "default", "examples"):
                yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _describe(error: ValidationError) -> str:
    return f"the JSON does not fit the schema at {error.json_path}: {_short(error.message)}"


def _short(message: str, limit: int = 120) -> str:
    return message if len(message) <= limit else f"{message[: limit - 1]}…"
