"""A job: one submission. Its specification is frozen at submission; its state changes in Postgres."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cascade_batch.domain.notify import NotifyTarget
from cascade_batch.domain.tier import Tier

PolicyName = Literal["auto", "cheapest", "dearest", "random", "confidence", "every"]
GoldUse = Literal["stop", "train"]


class JobState(StrEnum):
    """States of a job, by how each is entered and left.

    QUEUED: entered when the rows are stored; left for RUNNING when the first chunk is claimed.
    RUNNING: left for PAUSED (`pause`), CANCELLED (`cancel`), FAILED (a tier refuses the key, say)
        or FINISHED (the planner finds nothing more to buy).
    PAUSED: calls in flight settle, nothing new is sent; left by `resume` or `cancel`.
    FINISHED: every row is answered or failed; left for RUNNING by `budget --add` or `resume`,
        where more money can buy more.
    CANCELLED: entered by `cancel`; calls in flight settle; left by `resume`. Also entered where a job that
        started early (`submit --start-early`) is read no further; never left then.
    FAILED: something that the job can't mend stopped it; what is done is kept; left by `resume`.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to a job by itself."""
        return self in (JobState.FINISHED, JobState.CANCELLED, JobState.FAILED)


class Output(BaseModel):
    """What an answer has to look like: one of choices, a JSON schema, a pattern, or free text."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    choices: tuple[str, ...] | None = None
    """The words that an answer can be, two at least."""
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """The JSON schema of an answer. Its properties become columns of the results."""
    pattern: str | None = None
    """A regular expression that is looked for in the answer. What it matches, or its first group, is the
    value."""
    confidence: str | None = None
    """The field of the schema in which an answer says how sure it is, from 0 to the field's `maximum`. It
    stands in for log-probabilities where a server gives none, and is no part of what the answer says."""

    @model_validator(mode="after")
    def _one_kind(self) -> Output:
        given = [k for k in ("choices", "json_schema", "pattern") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError("output takes one of choices, schema and pattern, not several")
        if self.choices is not None and (
            len(self.choices) < 2 or len(set(self.choices)) < len(self.choices)
        ):
            raise ValueError("output.choices needs at least two different choices")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, OverflowError) as error:
                raise ValueError(f"output.pattern is no regular expression: {error}") from None
            except (RecursionError, MemoryError):
                raise ValueError("output.pattern is nested too deep") from None
        if self.confidence is not None and not self.most_confidence > 0:
            raise ValueError(
                f"output.confidence names {self.confidence!r}, which has to be a number among the properties"
                " of output.schema with a positive 'maximum': {type: number, minimum: 0, maximum: 100}"
            )
        return self

    @property
    def most_confidence(self) -> float:
        """What an answer that is quite sure says in the field `confidence`; 0 where there is no such one."""
        field = self.json_schema or {}
        for key in ("properties", self.confidence or ""):
            inner = field.get(key)
            field = inner if isinstance(inner, dict) else {}
        most = field.get("maximum", 0) if field.get("type") in ("number", "integer") else 0
        try:
            return float(most) if isinstance(most, int | float) and math.isfinite(most) else 0.0
        except OverflowError:  # a whole number that no float holds
            return 0.0

    @property
    def is_free_text(self) -> bool:
        """Whether any text is a fitting answer."""
        return self.choices is None and self.json_schema is None and self.pattern is None


class JobSpec(BaseModel):
    """What was submitted, frozen; stored with the job. Holds no secret: keys are named, not held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    data: str
    """Source as the user gave it; for messages only."""
    budget_nanousd: Annotated[int, Field(ge=0)]
    system: str | None = None
    prompt: str | None = None
    output: Output = Output()
    gold: str | None = None
    gold_use: GoldUse = "stop"
    """What gold that every row has is used for: to stop a row as soon as an answer is right, or to learn from
    only, as gold on some of the rows always is."""
    strata: str | None = None
    """Input column whose values group the rows: what is learnt of a row counts most for its group."""
    check: str | None = None
    tiers: tuple[Tier, ...]
    policy: PolicyName = "auto"
    seed: int = 0
    chunk_rows: Annotated[int, Field(gt=0, le=10_000)] = 200
    columns: tuple[str, ...] = ()
    """Input columns in the order first seen; what the result view shows."""
    check_path: str | None = None
    """Folder that a `python:` check is imported from."""
    cache: bool = True
    """Whether a question that was answered already, in this job or by an earlier one, is answered by the same
    words at no cost. False where every row is to be asked anew."""
    frame_index: Literal["plain", "own"] | None = None
    """Of a DataFrame that was submitted: whether its index numbers the rows from 0, or says something else,
    which is not stored. None: the data was no DataFrame."""
    notify: tuple[NotifyTarget, ...] = ()
    """Who is told of it. Stored apart, as an address may hold a secret: empty in a job that is read again."""

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        # 63 bytes is what Postgres keeps of an identifier: the name is a view's name, too.
        if not name.strip() or len(name.encode()) > 63 or not name.isprintable():
            raise ValueError("a job's name has 1 to 63 bytes, all printable")
        return name

    @field_validator("tiers")
    @classmethod
    def _tiers_differ(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if not tiers:
            raise ValueError("a job needs at least one tier")
        names = [t.name for t in tiers]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two tiers are called {twice[0]!r}")
        return tiers

    @model_validator(mode="after")
    def _judge_is_a_tier(self) -> JobSpec:
        names = [tier.name for tier in self.tiers]
        if (name := self._judge) is not None and name not in names:
            raise ValueError(
                f"check 'judge:{name}' names no tier of the job; its tiers are {', '.join(names)}"
            )
        return self

    @property
    def _judge(self) -> str | None:
        kind, _, argument = (self.check or "").strip().partition(":")
        return argument.strip() or None if kind == "judge" else None

    @property
    def judge_tier_no(self) -> int | None:
        """The tier that judges answers (`check: judge:TIER`); None: no tier does."""
        names = [tier.name for tier in self.tiers]
        return None if self._judge is None else names.index(self._judge)

    @property
    def check_needs_gold(self) -> bool:
        """Whether the check decides on rows with gold only. Not so for a pattern, a function of the user's
        (which may need gold all the same) and a judge."""
        return (self.check or "").strip().partition(":")[0] not in ("regex", "python", "judge")
