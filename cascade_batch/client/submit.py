"""`cascade_batch.submit`: a data set in, every row answered, from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from cascade_batch.client.job import Job
from cascade_batch.client.job_arguments import (
    WRITTEN_OTHERWISE,
    JobArguments,
    StrPath,
    job_options,
)
from cascade_batch.client.known_arguments import known_arguments
from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import services
from cascade_batch.client.warning import warn
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import GoldUse, Output, PolicyName
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SHOWN_BAD = 3


@known_arguments(meant=WRITTEN_OTHERWISE)
def submit(
    data: pd.DataFrame | pa.Table | Iterable[Mapping[str, Any]] | StrPath | None = None,
    *,
    budget: str | int | float | Decimal | None = None,
    prompt: str | Path | None = None,
    tiers: StrPath | Sequence[Tier | Mapping[str, Any]] | None = None,
    output: Mapping[str, Any] | Output | type[BaseModel] | str | None = None,
    system: str | None = None,
    check: str | None = None,
    gold: str | None = None,
    gold_use: GoldUse | None = None,
    strata: str | None = None,
    name: str | None = None,
    job: StrPath | None = None,
    policy: PolicyName | None = None,
    seed: int | None = None,
    chunk_rows: int | None = None,
    limit: int | None = None,
    skip_bad: bool | None = None,
    start_early: bool | None = None,
    cache: bool | None = None,
    notify: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None,
    allow_python_checks: bool | None = None,
) -> Job:
    """Have every row of a data set answered as well as the budget allows, and never spend a cent more.

    Returns as soon as the job is stored; workers go on by themselves, also when this process ends. Every
    argument but `data` may stand in a job file instead, and what is given here wins over it.

    Args:
        data: A pandas DataFrame, an Arrow table (or what turns into one: a polars DataFrame), an iterable of
            dicts (a generator, too), or the path of a .jsonl, .csv or .parquet file. Values become the same
            JSON values as those of a Parquet file: dates and times ISO 8601 text, NaN and NaT null, numpy's
            scalars numbers, categories their texts, decimals text; lists and dicts stay. A DataFrame's named
            index levels are columns. A column `custom_id` or `id` names the rows. None: the job file says.
        budget: Dollars that may be spent. A float is taken as it is printed.
        prompt: The template of each row's prompt, in which `{{ column }}` stands for a column; `@FILE` or a
            `Path` for a file that holds it. None: rows bring their own (`prompt` or `messages`).
        tiers: A tiers file, or the tiers themselves, cheap to dear: dicts with the keys of a tiers file
            (`{"name": "small", "model": "gpt-4o-mini", "api_key_env": "OPENAI_API_KEY"}`), or `Tier` values.
            None: tiers.yaml in the working folder, else that in the user's config folder.
        output: What answers look like: `{"choices": […]}`, `{"schema": {…JSON schema…}}`,
            `{"pattern": "…"}`, a pydantic model class (its JSON schema), or such a thing as YAML text.
            None: free text.
        system: A system message before each prompt.
        check: What judges answers: `exact`, `normalised`, `choice`, `numeric`, `json`, `contains`,
            `regex:PATTERN`, `python:module.function` or `judge:TIER`.
        gold: The column that holds right answers, on some rows or on all.
        gold_use: `stop` asks a row no more once an answer equals its gold, if all rows have one; `train` only
            learns from it.
        strata: A column that groups the rows, to learn what suits each group.
        name: The job's name. None: made from the data's, with a number where that is taken.
        job: A job file, or the folder of a `job.yaml`.
        policy: How to choose what is asked again: `auto`, or a plain rule to compare it with.
        seed: Repeats random choices.
        chunk_rows: Rows of a chunk.
        limit: Take this many rows from the start of the data only.
        skip_bad: Leave out records that can't be used, with a warning that says which.
        start_early: Begin to draft while the data is still being read; for generators and long files. Each
            row gets one answer on its cheapest tier, if the budget covers all rows so far; the planner comes
            when all are read. A mistake further down is then found after money was spent: the job is
            cancelled, its answers are kept, and the next job takes them over. A thread of its own reads the
            data: what a generator uses must allow for that (a connection of sqlite3 does not, by itself).
        cache: False asks every row. Else answers are not bought twice: rows that ask the same are asked once,
            and what earlier jobs asked in the very same words is taken over at no cost.
        notify: Who is told when the job is over or paused, and of shares of the budget that are used: an
            address, `env:NAME` for one that a variable holds, a dict (`{"url": …, "secret_env": …,
            "events": ["finished", "80%"]}`), or a list of such.
        allow_python_checks: Let Python code run that the job file names.

    Returns:
        The job.

    Raises:
        UsageError: Something is missing or does not fit; message and note say what, and what is allowed.
            Of an argument that there is none of, it is a TypeError as well.
        DataError: A record can't be used; names the DataFrame's row by its index label, or file and line.
        BudgetError: The budget can't answer every row at worst case; the note says what would do.
        JobExistsError: A job has this name.
        ServiceUnreachableError: The database or the broker can't be reached.

    Examples:
        >>> df = pd.DataFrame({"headline": ["Gold jumps", "Gold falls", "It rains", "Gold soars"]})
        >>> job = cascade_batch.submit(
        ...     df,
        ...     prompt="Is this good for the gold price? Answer up, down or none. {{ headline }}",
        ...     output={"choices": ["up", "down", "none"]},
        ...     tiers="tiers.yaml",
        ...     budget=0.10,
        ...     name="example",
        ... )
        >>> df.join(job.wait(progress=False).results()[["value", "status"]])
             headline value    status
        0  Gold jumps    up  answered
        1  Gold falls  down  answered
        2    It rains  none  answered
        3  Gold soars    up  answered
    """
    from cascade_batch.client.frame_index import kind_of_index
    from cascade_batch.client.submission import store_job
    from cascade_batch.datasets import InMemory, check_source, read_records
    from cascade_batch.engine.spec_files import read_job

    with python_words():
        held = None if data is None or isinstance(data, str | os.PathLike) else InMemory(data)
        given = JobArguments(
            budget=budget,
            prompt=prompt,
            tiers=tiers,
            output=output,
            system=system,
            check=check,
            gold=gold,
            gold_use=gold_use,
            strata=strata,
            name=name,
            job=job,
            policy=policy,
            seed=seed,
            chunk_rows=chunk_rows,
            limit=limit,
            skip_bad=skip_bad,
            start_early=start_early,
            cache=cache,
            notify=notify,
            allow_python_checks=allow_python_checks,
        )
        request = read_job(job_options(data, held, given))
        if held is not None and held.index is not None:
            spec = request.spec.model_copy(update={"frame_index": kind_of_index(held.index)})
            request = replace(request, spec=spec)
        for warning in request.warnings:
            warn(warning)
        if held is None:
            # Before the services, which may take seconds to start.
            check_source(request.data)
        left_out: list[DataError] = []
        read = partial(
            partial(read_records, request.data) if held is None else held.read,
            limit=request.limit,
            on_bad=left_out.append if request.skip_bad else None,
        )
        with services(request.spec.tiers, request.spec.notify) as service:
            service.require_broker()
            submission = store_job(service, request, read)
    _warn_of(left_out)
    for warning in submission.warnings:
        warn(warning)
    if held is None or held.index is None:
        return Job(submission.name)
    places = [bad.line_no - 1 for bad in left_out if bad.line_no is not None]
    return Job(submission.name, held.index.delete(places)[: submission.rows])


def _warn_of(left_out: Sequence[DataError]) -> None:
    if not left_out:
        return
    shown = "; ".join(error.message for error in left_out[:_SHOWN_BAD])
    more = f"; and {len(left_out) - _SHOWN_BAD:,} more" if len(left_out) > _SHOWN_BAD else ""
    are = "is" if len(left_out) == 1 else "are"
    warn(f"{counted(len(left_out), 'record')} {are} left out: {shown}{more}")
