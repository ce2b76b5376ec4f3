"""What came of a call. Three outcomes, and money follows them (see the essay in `cascade_batch.ledger`)."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Any

from cascade_batch.domain.fixed import fixed
from cascade_batch.domain.money import Usage


@fixed
class Reply:
    """What a model said, as it came over the wire.

    Attributes:
        text: The answer's text; empty where the model refused or said nothing.
        finish_reason: `stop`, `length`, `content_filter`, …, in OpenAI's words; None if not given.
        usage: Tokens billed; None where the server does not say (settled at the reservation).
        logprobs: Log-probability of each answered token (natural logarithm); None if not given.
        top_logprobs: The alternatives of the first token, token -> log-probability; None if not given.
        latency_ms: From sending the request to having read the whole answer.
        refusal: The model declined to answer (its words are in `text`).
    """

    text: str
    finish_reason: str | None = None
    usage: Usage | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: dict[str, float] | None = None
    latency_ms: float = 0.0
    refusal: bool = False


class RefusalKind(StrEnum):
    """Why a provider did no work. None of these is billed.

    RATE_LIMIT: 429; the whole tier waits, for `retry_after_s` where it is given.
    SERVER: 5xx, complete; tried again, and many of them open the tier's breaker.
    ROW: a 4xx about this request; the row fails on this tier, no other row is concerned.
    TIER: the key, the model or the account is refused (401, 402, 403, 404); the job stops.
    CONNECT: nothing was sent, as no connection could be made; handled like SERVER.
    """

    RATE_LIMIT = "rate_limit"
    SERVER = "server"
    ROW = "row"
    TIER = "tier"
    CONNECT = "connect"


@fixed
class Answered:
    """A complete, readable answer: settled at what it cost."""

    reply: Reply


@fixed
class Refused:
    """A complete refusal: costs nothing, the reservation serves the retry."""

    kind: RefusalKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None


@fixed
class Unknown:
    """The call may have been billed and nobody can say: its worst case is written off.

    `reason` is one word for grouping: timeout, disconnected, unreadable.
    """

    reason: str
    message: str


Outcome = Answered | Refused | Unknown


@fixed
class Signals:
    """Evidence about one answer. Log-probabilities are natural logarithms, near 0 = sure."""

    logprob_mean: float | None = None
    logprob_min: float | None = None
    logprob_sum: float | None = None
    label_logprob: float | None = None
    """Log-probability of the chosen label, normalised over the choices; of an answer that says itself how
    sure it is, the logarithm of that, where the server gives no log-probabilities; else None."""
    extra: dict[str, Any] = field(default_factory=dict)


@fixed
class Judgement:
    """An answer held against the declared output and the check.

    Attributes:
        value: The parsed value (JSON), None where the text does not fit the declared output.
        passed: What the check says; None where nothing was there to check against.
        error: Why `value` is absent, `passed` is False or the check could not decide, in words; None if
            all is well.
        has_value: False where `value` is absent (the text does not fit), as against a JSON null.
        matches_gold: Whether the row's gold says that it is right; None without gold. The same as `passed`
            where the check compares with gold; where it looks at something else, what that is measured by.
    """

    value: Any
    passed: bool | None
    error: str | None
    has_value: bool = True
    matches_gold: bool | None = None


@fixed
class Answer:
    """What a tier said about a row, priced: what is stored."""

    row_no: int
    tier_no: int
    text: str | None
    value: Any
    passed: bool | None
    error: str | None
    finish_reason: str | None
    usage: Usage | None
    cost_nanousd: int
    latency_ms: float
    signals: Signals
    matches_gold: bool | None = None
    value_key: int = 0
    """Equal for answers to one row that say the same; 0: nothing to compare."""
    sample_no: int = 0
    """0: the tier's first answer to the row; from 1 on, what it said when it was asked again."""


@fixed
class Verdict:
    """What a judge tier said about an answer, priced: what is stored.

    Attributes:
        tier_no: The tier whose answer is judged (its first: `sample_no` 0).
        judge_tier_no: The tier that judges.
        passed: Whether the judge finds the answer right; None where it does not say, or refused the call
            for good (`error` says which).
        probability: The judge's own probability that it is; None where it gives no log-probabilities.
    """

    row_no: int
    tier_no: int
    judge_tier_no: int
    passed: bool | None
    probability: float | None
    text: str | None
    error: str | None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost_nanousd: int = 0
    latency_ms: float = 0.0
