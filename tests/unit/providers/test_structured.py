"""JSON schemas as providers take them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from cascade_batch.providers.structured import anthropic_output_config, openai_response_format

LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": ["up", "down"]}, "why": {"type": "string", "minLength": 3}},
    "required": ["label", "why"],
}


def openai(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    asked = openai_response_format(schema)["json_schema"]
    return asked["schema"], asked["strict"]


def test_an_open_object_is_closed_for_strict_mode() -> None:
    schema, strict = openai(LABEL)
    assert strict
    assert schema["additionalProperties"] is False
    # Strict mode knows no lengths; the check still does.
    assert schema["properties"]["why"] == {"type": "string"}


def test_the_users_schema_is_left_as_it_is() -> None:
    before = repr(LABEL)
    openai(LABEL)
    anthropic_output_config(LABEL)
    assert repr(LABEL) == before


def test_objects_inside_are_closed_too() -> None:
    schema, strict = openai(
        {
            "type": "object",
            "properties": {"list": {"type": "array", "items": LABEL}, "one": {"$ref": "#/$defs/l"}},
            "required": ["list", "one"],
            "$defs": {"l": LABEL},
        }
    )
    assert strict
    assert schema["properties"]["list"]["items"]["additionalProperties"] is False
    assert schema["$defs"]["l"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        LABEL | {"required": ["label"]},
        LABEL | {"additionalProperties": True},
        LABEL | {"additionalProperties": {"type": "string"}},
        LABEL | {"allOf": [{"required": ["label"]}]},
        LABEL | {"patternProperties": {"x": {}}},
        {"type": "array", "items": LABEL},
        {"enum": ["up", "down"]},
        {"type": "object", "properties": {"a": {"not": {"type": "null"}}}, "required": ["a"]},
    ],
)
def test_what_strict_mode_would_refuse_is_sent_as_it_is(schema: dict[str, Any]) -> None:
    assert openai(schema) == (schema, False)


def test_what_strict_mode_accepts_fits_the_users_schema() -> None:
    narrowed, _ = openai(LABEL)
    answer = {"label": "up", "why": "gold rises"}
    jsonschema.validate(answer, narrowed)
    jsonschema.validate(answer, LABEL)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer | {"more": 1}, narrowed)


def test_anthropic_takes_optional_properties_but_no_bounds() -> None:
    schema = LABEL | {"required": ["label"]}
    schema["properties"] = LABEL["properties"] | {
        "n": {"type": "integer", "minimum": 0, "maximum": 9},
        "day": {"type": "string", "format": "date"},
        "odd": {"type": "string", "format": "phone"},
    }
    config = anthropic_output_config(schema)
    assert config is not None
    sent = config["format"]["schema"]
    assert config["format"]["type"] == "json_schema"
    assert sent["required"] == ["label"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["n"] == {"type": "integer"}
    assert sent["properties"]["day"] == {"type": "string", "format": "date"}
    assert sent["properties"]["odd"] == {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        LABEL | {"additionalProperties": True},
        LABEL | {"oneOf": [{}, {}]},
        {"type": "object", "properties": {"a": {"not": {}}}},
    ],
)
def test_what_anthropic_would_refuse_is_left_to_the_check(schema: dict[str, Any]) -> None:
    assert anthropic_output_config(schema) is None


def test_a_property_may_be_called_like_a_word_of_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {"not": {"type": "string"}, "minLength": {"type": "integer"}},
        "required": ["not", "minLength"],
    }
    assert openai(schema) == (schema | {"additionalProperties": False}, True)
