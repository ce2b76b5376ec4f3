"""Tiers as a user writes them: where they are looked for, how they become priced `Tier` values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from cascade_batch.domain.tier import Tier
from cascade_batch.engine.yaml_models import refuse_secrets, validate
from cascade_batch.engine.yaml_source import Source, YamlSource, read_text, short_path, user_path
from cascade_batch.errors import UsageError
from cascade_batch.prompts import MAX_PROMPT_CHARS, compile_prompt
from cascade_batch.providers.prices import freeze_price
from cascade_batch.words import choose

Made = TypeVar("Made")

TIERS_FILE = "tiers.yaml"

EXAMPLE = """\
tiers:                                      # cheap to dear
  - name: small
    model: gpt-4o-mini
    api_key_env: OPENAI_API_KEY             # the name of a variable, never a key
    max_output_tokens: 512                  # with the price: the worst case of a call
    logprobs: true
  - name: large
    model: gpt-4o
    api_key_env: OPENAI_API_KEY
    max_output_tokens: 512
"""

SET_BY_US = frozenset({"frozen_price", "python_path"})
_TYPICAL_INPUT_TOKENS = 1000


def find_tiers_file(cwd: Path) -> Path:
    """The tiers file that is used when none is named: the working folder's, else the user's own.

    Raises:
        UsageError: There is none; the hint is a complete file to copy.
    """
    user_file = platformdirs.user_config_path("cascade-batch") / TIERS_FILE
    for path in (cwd / TIERS_FILE, user_file):
        if path.is_file():
            return path
    given = choose(
        command_line="Name a file with --tiers",
        python="Give tiers=, a file's path or a list of dicts with the keys of tiers",
    )
    raise UsageError(
        f"No tiers are given, and there is neither {TIERS_FILE} in this folder nor {user_file}.",
        hint=f"{given}, or write one, for example {TIERS_FILE}:\n\n{EXAMPLE}",
    )


def read_tiers_file(path: Path, *, python_path: Path) -> tuple[Tier, ...]:
    """Read, check and price the tiers of a file.

    Args:
        path: A YAML file with the key `tiers`.
        python_path: Folder that functions of `api: python` tiers are imported from.

    Raises:
        UsageError: The file does not fit, a tier has no known price or its template is faulty.
    """
    source = YamlSource.read(path)
    value = source.value
    if not isinstance(value, Mapping) or not isinstance(value.get("tiers"), list):
        raise UsageError(
            f"{source.where()}: a tiers file holds a list under the key 'tiers'.",
            hint=f"For example:\n\n{EXAMPLE}",
        )
    others = [str(key) for key in value if key != "tiers"]
    if others:
        raise UsageError(
            f"{source.where((others[0],), key=True)}: unknown key {others[0]!r}."
            " Allowed here: tiers."
        )
    return make_tiers(source, value["tiers"], folder=path.parent, python_path=python_path)


def make_tiers(
    source: Source, value: Sequence[Any], *, folder: Path, python_path: Path
) -> tuple[Tier, ...]:
    """Check and price a list of tiers that stands under the key `tiers` of a source.

    Args:
        source: Where the list was read from.
        value: The parsed list.
        folder: What relative paths in it are relative to.
        python_path: Folder that functions of `api: python` tiers are imported from.

    Raises:
        UsageError: A tier does not fit, has no known price, or its template is faulty.
    """
    refuse_secrets(source, value, ("tiers",))
    tiers: list[Tier] = []
    for place, item in enumerate(value):
        path = ("tiers", place)
        read = validate(Tier, item, source, path, hidden=SET_BY_US)
        if any(read.name == other.name for other in tiers):
            raise UsageError(
                f"{source.where((*path, 'name'))}: two tiers are called {read.name!r}."
            )
        tiers.append(_complete(source, path, read, folder=folder, python_path=python_path))
    if not tiers:
        raise UsageError(
            f"{source.where(('tiers',))}: the list of tiers is empty.",
            hint=f"For example:\n\n{EXAMPLE}",
        )
    return tuple(tiers)


def order_warnings(tiers: tuple[Tier, ...]) -> list[str]:
    """Warnings about tiers that don't go from cheap to dear (no order is a reason to refuse)."""
    costs = [
        t.bound_price.worst_case_nanousd(_TYPICAL_INPUT_TOKENS, t.max_output_tokens, t.timeout_s)
        for t in tiers
    ]
    return [
        f"Tiers should be listed from cheap to dear, but at worst case {before.name!r} costs more"
        f" than {after.name!r}, which comes after it."
        for before, after, cost_before, cost_after in zip(
            tiers, tiers[1:], costs, costs[1:], strict=False
        )
        if cost_before > cost_after
    ]


def _complete(
    source: Source, path: tuple[str | int, ...], tier: Tier, *, folder: Path, python_path: Path
) -> Tier:
    changes: dict[str, Any] = {}
    if tier.prompt is not None:
        text = prompt_text(tier.prompt, folder, where=source.where((*path, "prompt")))
        _at(source, (*path, "prompt"), lambda: compile_prompt(system=None, template=text))
        changes["prompt"] = text
    if tier.gguf is not None:
        changes["gguf"] = str(user_path(folder, tier.gguf, source.where((*path, "gguf"))))
    if tier.api == "python":
        changes["python_path"] = str(python_path.resolve())
    return _at(source, path, lambda: freeze_price(tier.model_copy(update=changes)))


def prompt_text(given: str, folder: Path, *, where: str) -> str:
    """The template itself; one line that starts with `@` names the file that holds it.

    Args:
        given: What the user wrote.
        folder: What a relative file name is relative to.
        where: Place or option to name in an error.

    Raises:
        UsageError: The file can't be read.
    """
    if not given.startswith("@") or "\n" in given.strip():
        return given
    path = user_path(folder, given[1:].strip(), where)
    return read_text(path, where, f"the prompt's file {short_path(path)}", MAX_PROMPT_CHARS)


def _at(source: Source, path: tuple[str | int, ...], make: Callable[[], Made]) -> Made:
    try:
        return make()
    except UsageError as error:
        raise UsageError(f"{source.where(path)}: {error.message}", hint=error.hint) from None
