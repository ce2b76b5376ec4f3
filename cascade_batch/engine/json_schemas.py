"""JSON schemas of job and tiers files, for editors: made of the models that the files are read with.

A field's description is the text that stands under it in its model, as in this package at large.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from cascade_batch.domain.notify import FROM_ENVIRONMENT, STATES, NotifyTarget
from cascade_batch.domain.tier import FORBIDDEN_PARAMS, Tier
from cascade_batch.engine.job_file import JobFile
from cascade_batch.engine.tier_files import SET_BY_US

SchemaName = Literal["job", "tiers"]

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""What editors know best; nothing here needs more."""
_TITLES = {"job": "A job file of cascade-batch", "tiers": "A tiers file of cascade-batch"}
_TIERS = {
    "type": "array",
    "minItems": 1,
    "items": {"$ref": "#/$defs/Tier"},
    "description": "The tiers, cheap to dear.",
}


_CHECK = (
    r"^\s*(exact|normali[sz]ed|choice|contains|numeric(:.+)?|json(:.+)?"
    r"|regex:(.|\n)+|python:.+\..+|judge:.+)\s*$"
)
_DOLLARS = r"^\s*\$?[+]?(?=[.,_]*[0-9])[0-9,_]*\.?[0-9_,]*([eE][+-]?[0-9]+)?\s*$"
_SERVER = "^https?://"
_VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"
_RECEIVER = f"^(https?://|{FROM_ENVIRONMENT}[A-Za-z_])"
_EVENT = f"^({'|'.join(STATES)}|([1-9][0-9]?|100) ?%)$"
"""What mistakes an editor marks, beyond types: never less than the readers take."""


def file_schema(name: SchemaName) -> dict[str, Any]:
    """The schema of a kind of file.

    It allows what the reader of the file allows; the reader refuses some more, such as a prompt with a fault.
    """
    models: list[type[BaseModel]] = [Tier] if name == "tiers" else [JobFile, Tier, NotifyTarget]
    _, made = models_json_schema([(m, "validation") for m in models], schema_generator=_OfTheFiles)
    parts: dict[str, Any] = {key: _plain(part) for key, part in made["$defs"].items()}
    _complete_tier(parts["Tier"])
    head = {"$schema": _DIALECT, "title": _TITLES[name]}
    if name == "tiers":
        body: dict[str, Any] = {
            "description": "The ladder that jobs are answered on.",
            "type": "object",
            "properties": {"tiers": _TIERS},
            "required": ["tiers"],
            "additionalProperties": False,
        }
    else:
        body = parts.pop("JobFile")
        del body["title"]
        parts["Tiers"] = _TIERS
        _complete_output(parts["Output"])
        _complete_job(body["properties"])
        _complete_receiver(parts["NotifyTarget"]["properties"])
    return {**head, **body, "$defs": {key: parts[key] for key in sorted(_used(body, parts))}}


class _OfTheFiles(GenerateJsonSchema):
    """Leaves the fields' titles out, which would say the names again, and has no definitions dropped."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # from pydantic
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        made = super().model_schema(schema)
        made["description"] = _as_in_a_file(made["description"])
        for field, text in _texts(schema["cls"]).items():
            key = schema["cls"].model_fields[field].alias or field
            if key in made["properties"]:
                made["properties"][key]["description"] = text
        return made


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """What stands under each field of a model, in one line."""
    parsed = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    lines = parsed.body if isinstance(parsed, ast.ClassDef) else []
    return {
        field.target.id: _as_in_a_file(" ".join(text.value.value.split()))
        for field, text in pairwise(lines)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _as_in_a_file(text: str) -> str:
    """In words of a file rather than of Python."""
    return text.replace("; None:", "; not given:").replace("None:", "Not given:")


def _plain(part: Any) -> Any:
    """Without defaults that say nothing: `null`, and what empty nested models are."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    return {
        key: _plain(value)
        for key, value in part.items()
        if not (key == "default" and (value is None or isinstance(value, Mapping)))
    }


def _complete_tier(tier: dict[str, Any]) -> None:
    for name in SET_BY_US:
        del tier["properties"][name]
    tier["properties"]["params"]["propertyNames"] = {"not": {"enum": list(FORBIDDEN_PARAMS)}}
    _text_of(tier["properties"]["base_url"])["pattern"] = _SERVER
    _text_of(tier["properties"]["api_key_env"])["pattern"] = _VARIABLE
    tier["anyOf"] = [{"required": [key]} for key in ("model", "gguf", "function")]


def _complete_job(fields: dict[str, Any]) -> None:
    fields["budget"]["pattern"] = _DOLLARS
    _text_of(fields["check"])["pattern"] = _CHECK
    _text_of(fields["notify"])["pattern"] = _RECEIVER
    (several,) = (part for part in fields["notify"]["anyOf"] if part.get("type") == "array")
    _text_of(several["items"])["pattern"] = _RECEIVER


def _complete_receiver(fields: dict[str, Any]) -> None:
    fields["url"]["pattern"] = _RECEIVER
    _text_of(fields["secret_env"])["pattern"] = _VARIABLE
    fields["events"] |= {"items": {"type": "string", "pattern": _EVENT}, "minItems": 1}


def _text_of(field: dict[str, Any]) -> dict[str, Any]:
    """The part of a field that says what its texts are."""
    return next(part for part in field["anyOf"] if part.get("type") == "string")


def _complete_output(output: dict[str, Any]) -> None:
    # Words such as 1 and true are meant as they are written.
    (choices, _null) = output["properties"]["choices"]["anyOf"]
    choices |= {
        "items": {"type": ["string", "number", "boolean"]},
        "minItems": 2,
        "uniqueItems": True,
    }
    kinds = ("choices", "schema", "pattern")
    output["not"] = {
        "anyOf": [
            {"required": [one, other]}
            for place, one in enumerate(kinds)
            for other in kinds[place + 1 :]
        ]
    }


def _used(part: Any, parts: Mapping[str, Any]) -> set[str]:
    """Names of the definitions that something refers to, by way of others, too."""
    if isinstance(part, list):
        return set().union(*(_used(item, parts) for item in part))
    if not isinstance(part, Mapping):
        return set()
    found: set[str] = set().union(*(_used(item, parts) for item in part.values()))
    if isinstance(ref := part.get("$ref"), str):
        name = ref.rpartition("/")[2]
        found |= {name} | _used(parts[name], parts)
    return found
