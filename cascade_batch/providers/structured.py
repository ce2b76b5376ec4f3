"""JSON schemas in the forms that providers take.

A provider's schema only steers the model; the check holds the answer against the user's own schema
afterwards. So a form may be narrower than what the user wrote, or wider where the provider knows no
word for a part of it, but it has to be one that the provider accepts: a schema that it refuses
fails every row. Where even so a server takes none, `response_format: false` on the tier leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "not", "if", "then", "else", "contains", "additionalProperties")
"""Where schemas hold schemas."""

_STRUCTURAL = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"}
    | {"patternProperties", "propertyNames", "unevaluatedProperties", "prefixItems", "contains"}
)
"""Words that can't be left out without changing the shape of what is asked for, and that neither
provider takes everywhere."""

_COMMON_WORDS = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "$defs", "definitions", "description", "title"}
    | {"properties", "required", "additionalProperties", "items", "format"}
)
_OPENAI_WORDS = _COMMON_WORDS | {
    *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minItems", "maxItems"),
}
_ANTHROPIC_WORDS = _COMMON_WORDS
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)


def openai_response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """`response_format` for a JSON schema: strict where strict mode takes the schema.

    Strict mode wants objects without further properties, which is added where the user left it
    open, and every property required, which can't be added without changing what the user asked
    for. A schema that it does not take is sent as the user wrote it, and not strict.
    """
    narrowed = _narrowed(schema, _OPENAI_WORDS)
    strict = schema.get("type") == "object" and _is_closed(schema, narrowed)
    strict = strict and all(
        set(part.get("properties", ())) == set(part.get("required", ()))
        for part in _parts(narrowed)
    )
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": narrowed if strict else schema,
            "strict": strict,
        },
    }


def anthropic_output_config(schema: dict[str, Any]) -> dict[str, Any] | None:
    """`output_config` for a JSON schema; None where Anthropic does not take the schema."""
    narrowed = _narrowed(schema, _ANTHROPIC_WORDS)
    if not _is_closed(schema, narrowed):
        return None
    return {"format": {"type": "json_schema", "schema": narrowed}}


def _is_closed(schema: dict[str, Any], narrowed: dict[str, Any]) -> bool:
    """Whether nothing structural was lost and no object takes properties that it does not list."""
    if any(_STRUCTURAL & part.keys() for part in _parts(schema)):
        return False
    return all(part.get("additionalProperties") in (None, False) for part in _parts(narrowed))


def _narrowed(schema: dict[str, Any], words: frozenset[str]) -> dict[str, Any]:
    """A copy with the provider's words only, and objects closed where the user left it open."""

    def narrow(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        copy = {key: value for key, value in _mapped(part, narrow).items() if key in words}
        if copy.get("format") not in _FORMATS:
            copy.pop("format", None)
        if "properties" in copy or copy.get("type") == "object":
            copy.setdefault("additionalProperties", False)
        return copy

    narrowed: dict[str, Any] = narrow(schema)
    return narrowed


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every schema inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in _MAPS:
        if isinstance(schema.get(key), dict):
            for part in schema[key].values():
                yield from _parts(part)
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            for part in schema[key]:
                yield from _parts(part)
    for key in _SINGLE:
        yield from _parts(schema.get(key))


def _mapped(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    copy = dict(schema)
    for key in _MAPS:
        if isinstance(copy.get(key), dict):
            copy[key] = {name: change(part) for name, part in copy[key].items()}
    for key in _LISTS:
        if isinstance(copy.get(key), list):
            copy[key] = [change(part) for part in copy[key]]
    for key in _SINGLE:
        copy[key] = change(copy[key]) if key in copy else None
    return {key: value for key, value in copy.items() if key in schema}
