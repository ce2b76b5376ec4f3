"""What `submit` and `estimate` take beside the data: arguments of Python into options of a job."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import BaseModel

from cascade_batch.domain.job import GoldUse, Output, PolicyName
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    from cascade_batch.datasets import InMemory
    from cascade_batch.engine.spec_files import JobOptions

StrPath = str | os.PathLike[str]

WRITTEN_OTHERWISE = {
    "choices": "output={'choices': [...]}",
    "schema": "output={'schema': {...}}",
    "response_format": "output={'schema': {...}}",
    "label": "gold='COLUMN', the column that holds right answers",
    "labels": "gold='COLUMN', the column that holds right answers",
    "model": "tiers=[...], a list of models from cheap to dear",
    "models": "tiers=[...], a list of models from cheap to dear",
    "max_cost": "budget=DOLLARS",
    "max_usd": "budget=DOLLARS",
}
"""What other programs call what a job takes, and what it is here."""


class JobArguments(TypedDict, total=False):
    """What `submit` takes beside the data, and means the same wherever it is given."""

    budget: str | int | float | Decimal | None
    prompt: str | Path | None
    tiers: StrPath | Sequence[Tier | Mapping[str, Any]] | None
    output: Mapping[str, Any] | Output | type[BaseModel] | str | None
    system: str | None
    check: str | None
    gold: str | None
    gold_use: GoldUse | None
    strata: str | None
    name: str | None
    job: StrPath | None
    policy: PolicyName | None
    seed: int | None
    chunk_rows: int | None
    limit: int | None
    skip_bad: bool | None
    start_early: bool | None
    cache: bool | None
    notify: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None
    allow_python_checks: bool | None


def job_options(data: object, held: InMemory | None, given: JobArguments) -> JobOptions:
    """The options of a job.

    Args:
        data: A path; None: the job file says. Of no meaning where the data is `held`.
        held: The data, where it is no file.
        given: What was given beside it.

    Raises:
        UsageError: An argument is of a kind that means nothing.
    """
    from cascade_batch.engine.spec_files import JobOptions

    job, tiers, prompt = given.get("job"), given.get("tiers"), given.get("prompt")
    return JobOptions(
        data=text_of(data) if held is None else held.name,
        job_file=None if job is None else Path(job),
        budget=text_of(given.get("budget")),
        tiers_file=Path(tiers) if isinstance(tiers, str | os.PathLike) else None,
        tiers=None if tiers is None or isinstance(tiers, str | os.PathLike) else _tiers(tiers),
        system=given.get("system"),
        prompt=f"@{prompt}" if isinstance(prompt, Path) else prompt,
        output=_output(given.get("output")),
        gold=given.get("gold"),
        gold_use=given.get("gold_use"),
        strata=given.get("strata"),
        check=_check(given.get("check")),
        name=given.get("name"),
        policy=given.get("policy"),
        seed=given.get("seed"),
        chunk_rows=given.get("chunk_rows"),
        limit=given.get("limit"),
        skip_bad=given.get("skip_bad"),
        start_early=given.get("start_early"),
        cache=given.get("cache"),
        notify=given.get("notify"),
        allow_python_checks=given.get("allow_python_checks"),
    )


def text_of(given: object) -> str | None:
    """A path or a number as text; None stays."""
    return (
        None
        if given is None
        else os.fspath(given)
        if isinstance(given, os.PathLike)
        else str(given)
    )


def _tiers(given: Iterable[Tier | Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    tiers = list(given) if isinstance(given, Sequence) else []
    if not tiers or not all(isinstance(tier, Tier | Mapping) for tier in tiers):
        raise UsageError(
            "submit(): tiers must be a list of dicts or Tier values, or the path of a tiers file.",
            hint='For example: tiers=[{"name": "small", "model": "gpt-4o-mini", "max_output_tokens": 64}]',
        )
    return [
        tier.model_dump(exclude_unset=True, exclude={"frozen_price", "python_path"})
        if isinstance(tier, Tier)
        else tier
        for tier in tiers
    ]


def _output(
    given: Mapping[str, Any] | Output | type[BaseModel] | str | None,
) -> str | Mapping[str, Any] | None:
    if isinstance(given, Output):
        return given.model_dump(exclude_unset=True, by_alias=True)
    if isinstance(given, type) and issubclass(given, BaseModel):
        return {"schema": given.model_json_schema()}
    if given is None or isinstance(given, str | Mapping):
        return given
    is_words = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
    raise UsageError(
        "submit(): output must be a dict, an Output, a pydantic model class or a text, not of type"
        f" {type(given).__name__}.",
        hint=f"For answers that are one of these words: output={{'choices': {list(given)!r}}}"
        if is_words
        else "For example output={'choices': ['yes', 'no']}, or {'schema': {…}}; None for free text.",
    )


def _check(given: object) -> str | None:
    if given is None or isinstance(given, str):
        return given
    raise UsageError(
        f"submit(): check must be a text, not {given!r}.",
        hint="Workers import a check of yours: put the function into a file beside the data, and give"
        " check='python:module.function'.",
    )
