"""A worker's turn: settle, store, reserve, in one statement. See the essay in the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg

from cascade_batch.domain.answer import Answer, Verdict
from cascade_batch.domain.text import clean_text
from cascade_batch.ledger.latency import BUCKETS, bucket_of
from cascade_batch.ledger.lease import Lease
from cascade_batch.store import arrays

_TURN = (
    "SELECT chunk_id, granted, job_state, job_reserved_nanousd, tier_stopped"
    " FROM cascade_store.turn(%s, %s, %s::jsonb, %s::bigint[], %s::integer[], %s::integer[],"
    " %s::smallint[], %s::boolean[], %s::integer[], %s::integer[], %s::integer[], %s::integer[],"
    " %s::bigint[], %s::real[], %s::real[], %s::real[], %s::real[], %s::real[],"
    " %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::boolean[],"
    " %s::bigint[], %s::jsonb, %s::jsonb, %s::jsonb)"
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What the ledger said to a chunk's turn.

    Attributes:
        granted: How many of the wanted calls are reserved, from the first on.
        job_state: State of the job; anything but running means to stop.
        job_reserved_nanousd: What the job has reserved now, over all workers: while it is above
            zero, money may still come free.
        tier_stopped: The tier billed more than it declared; nothing is reserved for it any more.
    """

    granted: int
    job_state: str
    job_reserved_nanousd: int
    tier_stopped: bool


@dataclass(slots=True)
class Want:
    """A call that should be reserved: its row, its worst case, and the row's part of the ring fence
    (0 if the row is answered already); `is_first`: the row has no answer yet."""

    row_no: int
    worst_nanousd: int
    lent_nanousd: int
    is_first: bool

    def may_fit_where_not(self, refused: Want) -> bool:
        """Whether this call could be reserved although `refused`, alone, could not: it takes less of
        the free money, or less of what is fenced for rows without an answer."""
        return (
            self.worst_nanousd < refused.worst_nanousd
            or self.worst_nanousd - self.lent_nanousd < refused.worst_nanousd - refused.lent_nanousd
        )


@dataclass(slots=True)
class ChunkTurn:
    """What happened in one chunk since its last turn, and what it wants next.

    `state`: `leased` keeps the chunk; `ready` gives it back, for others to take after `delay_s`;
    `done` ends it. `held`: calls that are reserved and not yet ended. `judged_tier_no`: as in `Lease`.
    """

    chunk_id: int
    fence: int
    turn_no: int
    job_id: int
    tier_no: int
    judged_tier_no: int | None = None
    state: str = "leased"
    delay_s: float = 0.0
    release_nanousd: int = 0
    lent_back_nanousd: int = 0
    lent_used_nanousd: int = 0
    spent_nanousd: int = 0
    at_risk_nanousd: int = 0
    overrun_nanousd: int = 0
    calls: int = 0
    first_answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    stop_tier: str | None = None
    held: Sequence[Want] = ()
    wants: Sequence[Want] = ()
    answers: list[Answer] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    losses: list[tuple[int, int, str]] = field(default_factory=list)
    _buckets: list[int] | None = None

    @classmethod
    def under(cls, lease: Lease, *, turn_no: int) -> ChunkTurn:
        """A turn in which nothing happened yet."""
        return cls(
            chunk_id=lease.chunk_id,
            fence=lease.fence,
            turn_no=turn_no,
            job_id=lease.job_id,
            tier_no=lease.tier_no,
            judged_tier_no=lease.judged_tier_no,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.calls or self.release_nanousd or self.wants or self.refusals)

    def settle(self, bought: Answer | Verdict, reserved: Want) -> None:
        """A call was answered."""
        spent = min(bought.cost_nanousd, reserved.worst_nanousd)
        overrun = bought.cost_nanousd - spent
        self.release_nanousd += reserved.worst_nanousd
        self.lent_used_nanousd += reserved.lent_nanousd
        self.spent_nanousd += spent
        self.calls += 1
        self.first_answers += reserved.is_first
        if overrun:
            self.overrun_nanousd += overrun
            self.stop_tier = (
                f"billed {bought.cost_nanousd} nano-dollars for a call whose worst case was declared"
                f" as {reserved.worst_nanousd}"
            )
        if bought.usage is not None:
            self.input_tokens += bought.usage.input_tokens
            self.output_tokens += bought.usage.output_tokens
        if self._buckets is None:
            self._buckets = [0] * BUCKETS
        self._buckets[bucket_of(bought.latency_ms)] += 1
        if isinstance(bought, Verdict):
            self.verdicts.append(bought)
        else:
            self.answers.append(bought)

    def refuse(self, reserved: Want, message: str) -> None:
        """The tier refused the row for good: nothing was billed."""
        self.calls += 1
        self.release(reserved)
        self.refusals.append((reserved.row_no, message))

    def lose(self, reserved: Want, reason: str) -> None:
        """The call's end is unknown: its worst case is written off."""
        self.calls += 1
        self.release(reserved)
        self.at_risk_nanousd += reserved.worst_nanousd
        self.losses.append((reserved.row_no, reserved.worst_nanousd, reason))

    def release(self, reserved: Want) -> None:
        """The call was reserved and never sent."""
        self.release_nanousd += reserved.worst_nanousd
        self.lent_back_nanousd += reserved.lent_nanousd

    def _refused_verdicts(self) -> Iterable[Verdict]:
        return (
            Verdict(
                row_no=row_no,
                tier_no=self.judged_tier_no or 0,
                judge_tier_no=self.tier_no,
                passed=None,
                probability=None,
                text=None,
                error=clean_text(message),
            )
            for row_no, message in self.refusals
        )

    def _row(self) -> dict[str, Any]:
        return {
            "chunk": self.chunk_id,
            "fence": self.fence,
            "turn_no": self.turn_no,
            "state": self.state,
            "delay_s": self.delay_s,
            "release": self.release_nanousd,
            "lent_back": self.lent_back_nanousd,
            "lent_used": self.lent_used_nanousd,
            "spent": self.spent_nanousd,
            "at_risk": self.at_risk_nanousd,
            "overrun": self.overrun_nanousd,
            "calls": self.calls,
            "answers": len(self.answers),
            "verdicts": len(self.verdicts),
            "first_answers": self.first_answers,
            "refused": len(self.refusals),
            "lost": len(self.losses),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "latency_buckets": self._buckets,
            "stop_tier": self.stop_tier,
            "held": [w.row_no for w in self.held],
            "held_count": len(self.held),
            # Worst cases of answers are stored with the rows; those of calls to a judge are known here only.
            "held_worst": None
            if self.judged_tier_no is None
            else [w.worst_nanousd for w in self.held],
            "want": [w.worst_nanousd for w in self.wants],
            "lent": [w.lent_nanousd for w in self.wants],
            "want_rows": [w.row_no for w in self.wants],
        }


async def take_turn(
    connection: psycopg.AsyncConnection[tuple[Any, ...]],
    *,
    owner: str,
    lease_s: float,
    turns: Sequence[ChunkTurn],
) -> dict[int, Grant]:
    """Carry the turns out, and renew the leases of the chunks that are kept.

    The connection must be in autocommit mode. Safe to repeat after a lost connection.

    Returns:
        Grants by chunk id. A chunk that is missing is not this worker's any more: everything about
        it must be forgotten. (A chunk given back or ended may be missing when a turn is repeated.)
    """
    cursor = await connection.execute(
        _TURN,
        (
            owner,
            lease_s,
            orjson.dumps([t._row() for t in turns]).decode(),
            *_answer_columns([(t, a) for t in turns for a in t.answers]),
            _refusals(turns),
            _losses(turns),
            _verdicts(turns),
        ),
    )
    return {row[0]: Grant(*row[1:]) for row in await cursor.fetchall()}


def _answer_columns(pairs: Sequence[tuple[ChunkTurn, Answer]]) -> list[str]:
    answers = [a for _, a in pairs]
    usages = [a.usage for a in answers]
    signals = [a.signals for a in answers]
    number, text = arrays.numbers, _storable_texts
    return [
        number(t.chunk_id for t, _ in pairs),
        number(t.job_id for t, _ in pairs),
        number(a.row_no for a in answers),
        number(a.tier_no for a in answers),
        arrays.booleans(a.passed for a in answers),
        number(u.input_tokens if u else None for u in usages),
        number(u.cached_input_tokens if u else None for u in usages),
        number(u.output_tokens if u else None for u in usages),
        number(u.reasoning_tokens if u else None for u in usages),
        number(a.cost_nanousd for a in answers),
        number(a.latency_ms for a in answers),
        number(s.logprob_mean for s in signals),
        number(s.logprob_min for s in signals),
        number(s.logprob_sum for s in signals),
        number(s.label_logprob for s in signals),
        text(a.text for a in answers),
        text(_json(a.value) if a.value is not None else None for a in answers),
        text(a.error for a in answers),
        text(a.finish_reason for a in answers),
        text(_json(s.extra) if s.extra else None for s in signals),
        number(a.sample_no for a in answers),
        arrays.booleans(a.matches_gold for a in answers),
        number(a.value_key for a in answers),
    ]


def _storable_texts(texts: Iterable[str | None]) -> str:
    # Cleaned as one text: neither NUL nor half a surrogate pair is part of an array's syntax.
    return clean_text(arrays.texts(texts))


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Whole numbers of more than 64 bits, and what is nested deeper than 254 times.
        return json.dumps(value, ensure_ascii=False)


def _refusals(turns: Iterable[ChunkTurn]) -> str | None:
    rows = [
        {
            "chunk": t.chunk_id,
            "job": t.job_id,
            "row": row_no,
            "tier": t.tier_no,
            "message": clean_text(message),
        }
        for t in turns
        if t.judged_tier_no is None
        for row_no, message in t.refusals
    ]
    return _json(rows) if rows else None


def _verdicts(turns: Iterable[ChunkTurn]) -> str | None:
    """Verdicts, and what a judge refused for good: a verdict without a word, which nobody asks for again."""
    rows = [
        {
            "chunk": t.chunk_id,
            "job": t.job_id,
            "row": v.row_no,
            "tier": v.tier_no,
            "judge": v.judge_tier_no,
            "passed": v.passed,
            "probability": v.probability,
            "input_tokens": v.usage.input_tokens if v.usage else None,
            "cached_tokens": v.usage.cached_input_tokens if v.usage else None,
            "output_tokens": v.usage.output_tokens if v.usage else None,
            "reasoning_tokens": v.usage.reasoning_tokens if v.usage else None,
            "cost": v.cost_nanousd,
            "latency": v.latency_ms,
            "text": v.text,
            "error": v.error,
            "finish": v.finish_reason,
        }
        for t in turns
        if t.judged_tier_no is not None
        for v in (*t.verdicts, *t._refused_verdicts())
    ]
    return _json(rows) if rows else None


def _losses(turns: Iterable[ChunkTurn]) -> str | None:
    rows = [
        {
            "chunk": t.chunk_id,
            "fence": t.fence,
            "job": t.job_id,
            "row": row_no,
            "tier": t.tier_no,
            "amount": amount,
            "reason": reason,
        }
        for t in turns
        for row_no, amount, reason in t.losses
    ]
    return _json(rows) if rows else None
