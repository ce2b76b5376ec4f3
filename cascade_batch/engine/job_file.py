"""The keys of a job file. What stands under each is what editors show of it (`cascade-batch schema job`)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from cascade_batch.domain.job import GoldUse, Output, PolicyName


class JobFile(BaseModel):
    """What a job is: every key can be given as an option of `submit`, and an option wins."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: str | None = None
    """What the job is called, in commands and as the view `results."NAME"`; a name is taken once. Without it,
    the name of the data's file."""
    data: str | None = None
    """The data set: a .jsonl, .csv (both also .gz, .zst) or .parquet file, relative to this file; `-` for
    standard input."""
    budget: Annotated[Any, WithJsonSchema({"type": ["number", "string"], "minimum": 0})] = None
    """The most that the job may spend, in US dollars. A budget that can't answer every row on its
    cheapest tier is refused."""
    system: str | None = None
    """A system message, put before each prompt."""
    prompt: str | None = None
    """What each row is asked: a Jinja2 template in which `{{ column }}` stands for the row's value, or
    `@FILE`."""
    output: Output = Output()
    """What an answer has to look like; nothing: free text."""
    gold: str | None = None
    """The column that holds the right answer, on all rows or on some. What the planner learns from."""
    gold_use: GoldUse = "stop"
    """What gold on every row is for. `stop`: a row is done as soon as an answer equals it. `train`: it is
    learnt from only, as gold on some of the rows always is."""
    strata: str | None = None
    """A column that groups the rows: what is learnt of a row counts most for its group."""
    check: str | None = None
    """How answers are found right or wrong: exact, normalised, choice, numeric (numeric:0.01), json
    (json:a,b), contains, regex:PATTERN, python:module.function or judge:TIER."""
    tiers: Annotated[
        Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Tiers"}]})
    ] = None
    """The path of a tiers file, relative to this file, or the tiers themselves, cheap to dear. Without it,
    tiers.yaml in the working folder, else in your config folder."""
    policy: PolicyName = "auto"
    """How it is chosen what to escalate. `auto` is the planner; the others are there to compare it with."""
    seed: Annotated[int, Field(ge=0)] = 0
    """What random choices begin with, so that they can be repeated."""
    chunk_rows: Annotated[int, Field(gt=0, le=10_000)] = 200
    """How many rows a worker takes at a time."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Take only so many rows, from the start of the data."""
    skip_bad: bool = False
    """Leave out records that can't be used, and say which, instead of refusing the data set."""
    cache: bool = True
    """Answers that were bought are not bought again: rows that ask the same are asked once, and what earlier
    jobs asked in the same words is taken over. `false` asks every row."""
    start_early: bool = False
    """Begin to draft while the data is still being read. A mistake further down is then found after money was
    spent: the job is cancelled, its answers are kept, and the next job takes them over."""
    notify: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"$ref": "#/$defs/NotifyTarget"},
                    {
                        "type": "array",
                        "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/NotifyTarget"}]},
                    },
                ]
            }
        ),
    ] = None
    """Who is told of the job: an address (`https://…`, or `env:NAME` for a variable that holds it), or
    several, each with the events that it wants to hear of."""
