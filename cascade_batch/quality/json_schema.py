"""JSON in an answer's text, held against a schema (Draft 2020-12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from cascade_batch.errors import UsageError
from cascade_batch.quality.json_text import json_values
from cascade_batch.quality.schema_words import make_validator
from cascade_batch.quality.text import shorten


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
