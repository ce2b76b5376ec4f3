"""What a report tells, read from the database: sums and counts, made there, whatever the number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from cascade_batch.results.report import queries
from cascade_batch.results.report.candidates import Candidate, choose_examples
from cascade_batch.store.tables import JOB_TIER

TIME_STEPS = 160
"""Points of the curve of spending: as many as a page shows."""
ALMOST_ALL = 0.95
"""Share of the answered rows from which on a tier's answers speak for all of them."""
FEWEST_ROWS = 10
"""Rows drawn at random from which on a tier is told of."""
REASONS_SHOWN = 12
EXAMPLES_SHOWN = 10
_SAMPLED_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class TierFacts:
    """A tier's counters: calls, answers, money in nano-dollars, latencies in the ledger's buckets."""

    name: str
    model: str
    calls: int
    answers: int
    cached: int
    verdicts: int
    escalated: int
    refused_rows: int
    lost_calls: int
    input_tokens: int
    output_tokens: int
    spent_nanousd: int
    latency_buckets: tuple[int, ...]
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Rows that went the same way.

    Attributes:
        path: Tiers that answered them, in the order of their answers.
        stands: The tier whose answer counts.
        rows: How many.
        first_nanousd: What their first answers cost.
        changed: Whether the answer that counts says something else than the first; None: can't be compared.
        first_right: Whether the first answer is right; None: nobody says.
        final_right: The same of the answer that counts.
    """

    path: tuple[int, ...]
    stands: int
    rows: int
    first_nanousd: int
    changed: bool | None
    first_right: bool | None
    final_right: bool | None


@dataclass(frozen=True, slots=True)
class FairTier:
    """A tier on rows that were not chosen for it: on (almost) all, or on those drawn at random.

    Attributes:
        rows: Rows that it answered there.
        cost_nanousd: What these answers cost.
        told: Of these, how many somebody says right or wrong of.
        right: How many are right.
        compared: How many can be compared with the dearest tier's answer.
        agreeing: How many say the same.
        is_whole: It answered (almost) all rows, not only those that were drawn.
        drawn: How many rows were drawn at random, to be asked on every tier.
    """

    rows: int
    cost_nanousd: int
    told: int
    right: int
    compared: int
    agreeing: int
    is_whole: bool
    drawn: int

    @property
    def is_fair(self) -> bool:
        """Whether (almost) all of the rows were asked that it should have been compared on."""
        return self.is_whole or (self.rows >= FEWEST_ROWS and self.rows >= 0.9 * self.drawn)


@dataclass(frozen=True, slots=True)
class SpendStep:
    """What was written to the ledger in a step of time: by tier in nano-dollars, and for all tiers."""

    at: datetime
    spent_nanousd: dict[int, int]
    at_risk_nanousd: int
    budget_nanousd: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Escalations from one tier's answer to another tier, for one reason."""

    tier_no: int
    from_tier: int
    cause: str
    rows: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Rows with the same reason, but for numbers; `example` is the first of them in full."""

    rows: int
    row_no: int
    example: str


@dataclass(frozen=True, slots=True)
class ExampleAnswer:
    """What a tier said about a row of the examples; `stands`: it is the final answer."""

    tier_no: int
    text: str | None
    error: str | None
    logprob: float | None
    is_right: bool | None
    stands: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A row that several tiers answered; `answers` are in the order in which they came.

    Attributes:
        chosen: The escalation for which it was chosen.
    """

    custom_id: str
    input: dict[str, Any] | None
    input_text: str
    gold: str | None
    chosen: Candidate
    answers: tuple[ExampleAnswer, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report draws on, besides what `status` tells.

    Attributes:
        samples_nanousd: By tier, what second samples cost.
        verdicts_nanousd: By judging tier, what its verdicts cost.
        fair: By tier; a tier is missing where no fair rows were asked on it.
        gold_column: The column that holds right answers, if one was given.
        released_calls: Calls whose write-off was taken back, as an invoice proves that they were not billed.
    """

    tiers: tuple[TierFacts, ...]
    flows: tuple[Flow, ...]
    samples_nanousd: dict[int, int]
    verdicts_nanousd: dict[int, int]
    fair: dict[int, FairTier]
    spending: tuple[SpendStep, ...]
    causes: tuple[Cause, ...]
    examples: tuple[Example, ...]
    gold_column: str | None
    failures: tuple[Failure, ...]
    refusals: tuple[tuple[str, Failure], ...]
    unfit: tuple[Failure, ...]
    released_calls: int
    released_nanousd: int


def read_facts(connection: sa.Connection, job_id: int) -> Facts:
    """Read a job's facts, in the connection's transaction."""
    tiers = _tiers(connection, job_id)
    flows = tuple(
        Flow(tuple(r.path), r.stands, r.rows, int(r.first_nanousd), *r[4:])
        for r in _all(connection, queries.FLOWS, job_id)
    )
    released = _all(connection, queries.RELEASED, job_id)[0]
    return Facts(
        tiers=tiers,
        flows=flows,
        samples_nanousd=_by_tier(connection, queries.SAMPLES, job_id),
        verdicts_nanousd=_by_tier(connection, queries.VERDICTS, job_id),
        fair=_fair(connection, job_id, tiers, sum(f.rows for f in flows)),
        spending=_spending(connection, job_id),
        causes=tuple(Cause(*r) for r in _all(connection, queries.CAUSES, job_id)),
        examples=_examples(connection, job_id),
        gold_column=_all(connection, queries.GOLD_COLUMN, job_id)[0].gold,
        failures=_reasons(connection, queries.FAILURES, job_id),
        refusals=tuple(
            (r.tier, Failure(r.rows, r.row_no, r.example))
            for r in _all(connection, queries.REFUSALS, job_id, limit=REASONS_SHOWN)
        ),
        unfit=_reasons(connection, queries.UNFIT, job_id),
        released_calls=released.calls,
        released_nanousd=int(released.amount_nanousd),
    )


def _tiers(connection: sa.Connection, job_id: int) -> tuple[TierFacts, ...]:
    columns = [JOB_TIER.c[name] for name in TierFacts.__dataclass_fields__]
    query = sa.select(*columns).where(JOB_TIER.c.job_id == job_id).order_by(JOB_TIER.c.tier_no)
    return tuple(TierFacts(**row) for row in connection.execute(query).mappings())


def _fair(
    connection: sa.Connection, job_id: int, tiers: tuple[TierFacts, ...], answered: int
) -> dict[int, FairTier]:
    """Tiers that answered almost all rows are told of by every so many-eth row, the others by the rows that
    were drawn at random to compare tiers."""
    enough = max(ALMOST_ALL * answered, 1)
    whole = [no for no, tier in enumerate(tiers) if tier.answers >= enough]
    found = _all(
        connection,
        queries.FAIR,
        job_id,
        whole=whole,
        every=max(answered // _SAMPLED_ROWS, 1),
        dearest=len(tiers) - 1,
    )
    return {r.tier_no: FairTier(r.rows, int(r.cost_nanousd), *r[3:]) for r in found}


def _examples(connection: sa.Connection, job_id: int) -> tuple[Example, ...]:
    found = (Candidate(*r) for r in _all(connection, queries.CANDIDATES, job_id))
    chosen = choose_examples(list(found), EXAMPLES_SHOWN)
    rows = [one.row_no for one in chosen]
    answers: dict[int, list[ExampleAnswer]] = {row_no: [] for row_no in rows}
    for r in _all(connection, queries.EXAMPLE_ANSWERS, job_id, rows=rows):
        answers[r.row_no].append(ExampleAnswer(*r[1:]))
    told = {r.row_no: r for r in _all(connection, queries.EXAMPLE_ROWS, job_id, rows=rows)}
    return tuple(
        Example(
            custom_id=told[one.row_no].custom_id,
            input=told[one.row_no].input,
            input_text=told[one.row_no].input_text,
            gold=told[one.row_no].gold,
            chosen=one,
            answers=tuple(answers[one.row_no]),
        )
        for one in chosen
    )


def _spending(connection: sa.Connection, job_id: int) -> tuple[SpendStep, ...]:
    steps: dict[float, SpendStep] = {}
    for r in _all(connection, queries.SPENDING, job_id, steps=TIME_STEPS):
        step = steps.get(r.at_s)
        if step is None:
            at = datetime.fromtimestamp(r.at_s, UTC)
            step = SpendStep(at, {}, int(r.all_at_risk), int(r.all_budget))
            steps[r.at_s] = step
        if r.tier_no is not None and r.spent:
            step.spent_nanousd[r.tier_no] = int(r.spent)
    return tuple(steps.values())


def _reasons(connection: sa.Connection, query: str, job_id: int) -> tuple[Failure, ...]:
    found = _all(connection, query, job_id, limit=REASONS_SHOWN)
    return tuple(Failure(r.rows, r.row_no, r.example) for r in found)


def _by_tier(connection: sa.Connection, query: str, job_id: int) -> dict[int, int]:
    return {r.tier_no: int(r.cost_nanousd) for r in _all(connection, query, job_id)}


def _all(connection: sa.Connection, query: str, job_id: int, **values: Any) -> list[Any]:
    return list(connection.execute(sa.text(query), {"job": job_id, **values}))
