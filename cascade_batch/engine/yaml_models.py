"""From YAML to pydantic models, with errors that name the place, the key and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cascade_batch.engine.yaml_source import Source
from cascade_batch.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)

MAX_SHOWN_ERRORS = 10

_SECRET_KEY = re.compile(
    r"(?:\w+[_-])?api[_-]?key\Z|(?:access|auth|secret)[_-](?:key|token)\Z"
    r"|(?:key|token|secret|password|authorization|bearer)\Z",
    re.I,
)
_SECRET_VALUE = re.compile(
    r"Bearer\s+\S{16,}\Z|AIza[A-Za-z0-9_-]{30,}\Z"
    r"|(?=\S*[0-9])(?:sk|rk|gsk|xai|hf|pplx|nvapi|r8)[-_][A-Za-z0-9_-]{16,}\Z"
)
_KEY_HINT = (
    "Put the key into an environment variable and name that variable: api_key_env: OPENAI_API_KEY"
)
_MOVED = {
    **dict.fromkeys(
        ("temperature", "top_p", "top_k", "seed", "stop", "frequency_penalty", "presence_penalty"),
        "it belongs under params: {…}",
    ),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens"), "what it sets is called max_output_tokens here"
    ),
    **dict.fromkeys(("rpm", "tpm", "concurrency"), "it belongs under limits: {…}"),
    **dict.fromkeys(("timeout",), "it is called timeout_s, in seconds"),
    **dict.fromkeys(("endpoint_url", "url", "api_base"), "it is called base_url"),
}


def validate(
    model: type[Model],
    value: Any,
    source: Source,
    path: Sequence[str | int] = (),
    *,
    hidden: frozenset[str] = frozenset(),
) -> Model:
    """Make a model of a parsed value.

    Args:
        model: What the value should be.
        value: The value, as parsed (or amended by the caller).
        source: Where it was read from.
        path: Where in the source it stands.
        hidden: Fields of the model that no file may set; they count as unknown keys.

    Raises:
        UsageError: The value does not fit; all places are named, values never are.
    """
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{source.where(path)}: {_called(path) or 'the file'} must hold keys and values"
            f" (such as `{_keys(model, hidden)[0]}: …`)."
        )
    allowed = _keys(model, hidden)
    unknown = [key for key in value if str(key) not in allowed]
    lines = [_unknown_key(source, path, str(key), allowed) for key in unknown]
    known = {str(key): item for key, item in value.items() if str(key) in allowed}
    try:
        made = model.model_validate(known)
    except ValidationError as error:
        lines += [_describe(source, path, model, item) for item in error.errors()]
    else:
        if not lines:
            return made
    shown = lines[:MAX_SHOWN_ERRORS]
    if len(lines) > len(shown):
        shown.append(f"… and {len(lines) - len(shown)} more.")
    raise UsageError("\n".join(shown))


def refuse_secrets(source: Source, value: Any, path: tuple[str | int, ...] = ()) -> None:
    """Look for API keys that were written into a file by mistake.

    Raises:
        UsageError: One was found; the place is named, the key itself is not repeated.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = str(key)
            if isinstance(item, str) and item and _SECRET_KEY.match(name):
                raise UsageError(
                    f"{source.where((*path, name), key=True)}: {_called((*path, name))} holds a"
                    " secret; job and tiers files hold no secrets.",
                    hint=_KEY_HINT,
                )
            refuse_secrets(source, item, (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            refuse_secrets(source, item, (*path, place))
    elif isinstance(value, str) and _SECRET_VALUE.match(value.strip()):
        raise UsageError(
            f"{source.where(path)}: {_called(path)} looks like an API key;"
            " job and tiers files hold no secrets.",
            hint=_KEY_HINT,
        )


def _keys(model: type[BaseModel], hidden: frozenset[str] = frozenset()) -> list[str]:
    return [f.alias or name for name, f in model.model_fields.items() if name not in hidden]


def _called(path: Sequence[str | int]) -> str:
    """`tiers[0].price.input`: how messages call a place."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _unknown_key(
    source: Source, path: Sequence[str | int], key: str, allowed: Sequence[str]
) -> str:
    where = source.where((*path, key), key=True)
    text = f"{where}: unknown key {key!r}"
    close = difflib.get_close_matches(key.lower(), allowed, n=1, cutoff=0.7)
    if key in _MOVED and "params" in allowed:  # only a tier has these, under other names
        text += f"; {_MOVED[key]}."
    elif close:
        text += f"; did you mean {close[0]!r}?"
    else:
        text += "."
    return f"{text} Allowed here: {', '.join(allowed)}."


def _describe(
    source: Source, path: Sequence[str | int], model: type[BaseModel], error: ErrorDetails
) -> str:
    steps = (*path, *error["loc"])
    if error["type"] == "extra_forbidden":
        nested = _model_at(model, error["loc"][:-1])
        return _unknown_key(source, steps[:-1], str(steps[-1]), _keys(nested) if nested else [])
    where = source.where(steps)
    name = _called(steps)
    if error["type"] == "missing":
        return f"{where}: the key {name!r} is missing."
    text = error["msg"].removeprefix("Value error, ")
    for said, meant in (
        ("Input should be a valid ", "must be a "),
        ("Input should be ", "must be "),
    ):
        text = text.replace(said, meant)
    text = text.removesuffix(", unable to parse string as an integer")
    text = re.sub(r"\ba (integer|array|object)", r"an \1", text)
    text = text.replace("a dictionary", "a mapping of keys to values").replace("a tuple", "a list")
    return f"{where}: {name}: {text}." if name else f"{where}: {text}."


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that stands at a place within another, None if no model does."""
    current: type[BaseModel] | None = model
    for step in loc:
        if current is None:
            return None
        by_alias = {f.alias or name: f for name, f in current.model_fields.items()}
        field = by_alias.get(str(step))
        current = _model_in(field.annotation) if field else None
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
