"""Faults: what goes wrong, for which calls, and whether it is on the bill."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class FaultKind(StrEnum):
    """What the client meets. Only a complete refusal is free by default (`billed: true` changes that).

    Free:
    RATE_LIMIT: 429, with `Retry-After` where `retry_after_s` is given.
    SERVER_ERROR: 500, or another 5xx given by `status` (503, 529, …).
    BAD_REQUEST: 400, or another 4xx given by `status`.
    UNAUTHORIZED: 401, or 403 given by `status`.
    NOT_FOUND: 404, as for a model that the server does not have.
    REDIRECT: 307 to `location`.

    Billed, as the model did the work or may have done it (`billed: false` changes that):
    HANG: no answer ever comes; ends when the client hangs up. Billed as if it wrote to `max_tokens`.
    RESET: the connection is reset before any byte of an answer.
    RESET_AFTER_HEADERS: reset after the answer's headers.
    CUT_BODY: closed after half of the body that `content-length` announced.
    TRUNCATED_ANSWER: the text's first half, `length` as the finish reason, all of `max_tokens` used.
    WRONG_USAGE: every count multiplied by `factor`, as reported and as billed.
    NO_USAGE: a good answer that does not report its usage.
    HTML_200: a web page with status 200 in the answer's place.
    ERROR_200: an error object with status 200 in the answer's place.
    EMPTY_ANSWER: an empty text that ends like a good one, at the full price.
    CONTENT_FILTER: an empty text, `content_filter` as the finish reason, at the full price.
    REFUSAL: the model declines politely, in the field meant for it.
    SLOW_DRIP: a good answer, in pieces over `duration_s`.
    HUGE_BODY: a good answer, filled up with blanks to `bytes`.
    """

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    HANG = "hang"
    RESET = "reset"
    RESET_AFTER_HEADERS = "reset_after_headers"
    CUT_BODY = "cut_body"
    TRUNCATED_ANSWER = "truncated_answer"
    WRONG_USAGE = "wrong_usage"
    NO_USAGE = "no_usage"
    HTML_200 = "html_200"
    ERROR_200 = "error_200"
    EMPTY_ANSWER = "empty_answer"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    SLOW_DRIP = "slow_drip"
    HUGE_BODY = "huge_body"


REFUSALS: dict[FaultKind, int] = {
    FaultKind.RATE_LIMIT: 429,
    FaultKind.SERVER_ERROR: 500,
    FaultKind.BAD_REQUEST: 400,
    FaultKind.UNAUTHORIZED: 401,
    FaultKind.NOT_FOUND: 404,
    FaultKind.REDIRECT: 307,
}
"""The kinds that refuse completely, with the status of each; free by default."""

_STATUSES: dict[FaultKind, range] = {
    FaultKind.SERVER_ERROR: range(500, 600),
    FaultKind.BAD_REQUEST: range(400, 500),
    FaultKind.UNAUTHORIZED: range(401, 404),
}
_PARAMETERS: dict[str, tuple[FaultKind, ...]] = {
    "status": tuple(_STATUSES),
    "retry_after_s": (FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR),
    "factor": (FaultKind.WRONG_USAGE,),
    "bytes": (FaultKind.HUGE_BODY,),
    "duration_s": (FaultKind.SLOW_DRIP,),
    "location": (FaultKind.REDIRECT,),
}
"""Which kinds each parameter belongs to."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class FaultRule(BaseModel):
    """One entry of `faults:`. A call meets the fault if every selector that is given holds.

    Calls are counted per rule, from 1, among those that `model`, `match`, `prompt_share` and the
    window let through; `nth`, `every`, `first` and `probability` then choose among these. A rule
    counts and draws for such a call even where an earlier rule takes it, so that the number of
    faults depends only on the number of calls.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    kind: FaultKind
    """One of `FaultKind`."""
    model: tuple[str, ...] | None = None
    """Only calls to these models (one name, or a list)."""
    match: str | None = None
    """Only prompts (last user message) in which this regular expression is found."""
    prompt_share: Share | None = None
    """Only this share of all prompts, always the same ones."""
    after_s: Annotated[float, Field(ge=0)] = 0.0
    """Only calls this long after the start or the last reset …"""
    until_s: Annotated[float, Field(gt=0)] | None = None
    """… and before this."""
    nth: tuple[Count, ...] | None = None
    """Only the n-th call (one number, or a list)."""
    every: Count | None = None
    """Only every n-th call."""
    first: Count | None = None
    """Only the first n attempts at each prompt."""
    probability: Share = 1.0
    """Only this share of the calls, drawn at random."""

    billed: bool | None = None
    """Whether the model did the work; None: as its kind has it."""
    latency_ms: Annotated[float, Field(ge=0)] | None = None
    """Time until the fault shows; None: none for a refusal, the model's own for all else."""
    status: int | None = None
    """The status of `server_error`, `bad_request` or `unauthorized`."""
    retry_after_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds in `Retry-After`, of `rate_limit` or `server_error`."""
    factor: Annotated[Decimal, Field(ge=0)] | None = None
    """By which `wrong_usage` multiplies; it needs one."""
    size_bytes: Annotated[int | None, Field(alias="bytes", ge=1)] = None
    """How long the body of `huge_body` is."""
    duration_s: Annotated[float, Field(gt=0)] | None = None
    """How long `slow_drip` takes."""
    location: str | None = None
    """Where `redirect` leads."""

    @field_validator("model", "nth", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (str, int)) else value

    @field_validator("match")
    @classmethod
    def _match_compiles(cls, pattern: str | None) -> str | None:
        return checked_pattern(pattern)

    @model_validator(mode="after")
    def _parameters_belong_to_the_kind(self) -> FaultRule:
        given = self.model_dump(by_alias=True, exclude_none=True)
        for name, kinds in _PARAMETERS.items():
            if name in given and self.kind not in kinds:
                raise ValueError(f"{name} belongs to {', '.join(kinds)}, not to {self.kind}")
        if self.kind is FaultKind.WRONG_USAGE and self.factor is None:
            raise ValueError("wrong_usage needs a factor")
        if self.status is not None and self.status not in _STATUSES[self.kind]:
            allowed = _STATUSES[self.kind]
            raise ValueError(f"status of {self.kind} is from {allowed.start} to {allowed.stop - 1}")
        if self.until_s is not None and self.until_s <= self.after_s:
            raise ValueError("until_s must be later than after_s")
        return self

    @property
    def is_billed(self) -> bool:
        """Whether the call is put on the bill."""
        return self.kind not in REFUSALS if self.billed is None else self.billed


class FaultPlan:
    """The rules at work: counts calls and draws, the same for the same order of calls."""

    def __init__(self, rules: Sequence[FaultRule], seed: int) -> None:
        self._rules = [_LiveRule(rule, number, seed) for number, rule in enumerate(rules)]

    def choose(
        self, model: str, prompt: str, prompt_key: bytes, elapsed_s: float
    ) -> FaultRule | None:
        """The fault that this call meets: that of the first rule that fires.

        Args:
            model: The model called.
            prompt: The last user message.
            prompt_key: Identity of the whole prompt.
            elapsed_s: Seconds since the start or the last reset.
        """
        chosen: FaultRule | None = None
        for live in self._rules:
            if live.fires(model, prompt, prompt_key, elapsed_s) and chosen is None:
                chosen = live.rule
        return chosen


class _LiveRule:
    def __init__(self, rule: FaultRule, number: int, seed: int) -> None:
        self.rule = rule
        self._salt = f"{seed}/{number}".encode()
        self._pattern = None if rule.match is None else re.compile(rule.match)
        self._random = random.Random(f"{seed}/fault/{number}")  # noqa: S311 - repeatable on purpose
        self._calls = 0
        self._attempts: Counter[tuple[str, bytes]] = Counter()

    def fires(self, model: str, prompt: str, prompt_key: bytes, elapsed_s: float) -> bool:
        rule = self.rule
        if not self._concerns(model, prompt, prompt_key, elapsed_s):
            return False
        self._calls += 1
        fires = rule.probability >= 1.0 or self._random.random() < rule.probability
        if rule.nth is not None:
            fires &= self._calls in rule.nth
        if rule.every is not None:
            fires &= self._calls % rule.every == 0
        if rule.first is not None:
            self._attempts[model, prompt_key] += 1
            fires &= self._attempts[model, prompt_key] <= rule.first
        return fires

    def _concerns(self, model: str, prompt: str, prompt_key: bytes, elapsed_s: float) -> bool:
        rule = self.rule
        if rule.model is not None and model not in rule.model:
            return False
        if elapsed_s < rule.after_s or (rule.until_s is not None and elapsed_s >= rule.until_s):
            return False
        if rule.prompt_share is not None and not self._is_in_share(prompt_key, rule.prompt_share):
            return False
        return self._pattern is None or self._pattern.search(prompt) is not None

    def _is_in_share(self, prompt_key: bytes, share: float) -> bool:
        digest = hashlib.blake2b(prompt_key, digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest) < share * 2**64


def checked_pattern(pattern: str | None) -> str | None:
    """The pattern, if it compiles.

    Raises:
        ValueError: It is no regular expression.
    """
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        except RecursionError:
            raise ValueError(f"the pattern {pattern[:50]!r}… is nested too deep") from None
    return pattern
