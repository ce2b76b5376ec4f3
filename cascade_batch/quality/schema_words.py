"""JSON Schema's words whose work an answer could stretch, done within bounds.

The `jsonschema` package looks for patterns with Python's `re`, which can take years over a short text, and
compares every pair of a list for `uniqueItems`. Here patterns have a limit of time (see `patterns`), and
lists are compared by a key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from referencing import Registry

from cascade_batch.quality.patterns import UserPattern
from cascade_batch.quality.text import shorten
from cascade_batch.quality.values import canonical


def make_validator(schema: dict[str, Any], registry: Registry[Any]) -> Validator:
    """The validator of a schema.

    Raises:
        UsageError: One of its patterns is no regular expression.
    """
    for pattern in _patterns(schema):
        _compiled(pattern)
    made: Validator = _Bounded(schema, registry=registry)
    return made


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> UserPattern:
    return UserPattern(pattern, f"output.schema: the pattern {shorten(pattern)}")


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        if isinstance(schema.get("patternProperties"), dict):
            yield from schema["patternProperties"]
        for key, part in schema.items():
            if key not in ("const", "enum", "default", "examples"):
                yield from _patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _patterns(part)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if not isinstance(value, str):
        return
    try:
        if _compiled(pattern).search(value) is None:
            yield ValidationError(f"{value!r} does not match {pattern!r}")
    except TimeoutError:
        yield _too_slow(pattern)


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], value: Any, _: Any
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, schema in patterns.items():
        for name, part in value.items():
            try:
                matches = _compiled(pattern).search(name) is not None
            except TimeoutError:
                yield _too_slow(pattern)
                return
            if matches:
                yield from validator.descend(part, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, value: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    patterns = schema.get("patternProperties", {})
    try:
        extras = [
            name
            for name in value
            if name not in schema.get("properties", {})
            and not any(_compiled(pattern).search(name) for pattern in patterns)
        ]
    except TimeoutError:
        yield _too_slow(", ".join(patterns))
        return
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(value[name], allowed, path=name)
    elif not allowed and extras:
        named = ", ".join(repr(name) for name in extras[:5])
        yield ValidationError(f"additional properties are not allowed: {named}")


def _unique_items(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
    if not wanted or not isinstance(value, list):
        return
    if len({_key(part) for part in value}) < len(value):
        yield ValidationError(f"{value!r} has non-unique elements")


def _key(value: Any) -> str:
    return json.dumps(canonical(value), sort_keys=True)


def _too_slow(pattern: str) -> ValidationError:
    return ValidationError(f"the pattern {shorten(pattern)} takes too long to be looked for")


_Bounded: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    },
)
