"""A chunk at work: its rows, from waiting to settled, and what its next turn tells the ledger."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cascade_batch.domain.answer import (
    Answer,
    Answered,
    Outcome,
    RefusalKind,
    Refused,
    Reply,
    Unknown,
)
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.context import JobContext
from cascade_batch.ledger import ChunkTurn, Grant, Lease
from cascade_batch.ledger.turn import Want
from cascade_batch.quality import clean_text, signals_of

SERVER_ATTEMPTS = 6
"""How often a row is sent to a server that answers it with 5xx while other rows fare better."""

LOST_ATTEMPTS = 3
"""How many worst cases may be written off for one row on one tier before it is given up there: a row
that kills its worker or never comes back must not eat the budget."""


@dataclass(slots=True)
class RowTask:
    """A row to be asked of the chunk's tier."""

    want: Want
    fields: dict[str, Any]
    gold: str | None
    lost: int
    attempts: int = 0

    @property
    def row_no(self) -> int:
        """The row's number."""
        return self.want.row_no


@dataclass(slots=True)
class OpenChunk:
    """A leased chunk.

    A row is in one place at a time: `todo` (not reserved), `ready` (reserved, not sent), `in_flight`
    (sent, or waiting to be sent again), or settled. `valid_until` is the loop's time up to which the
    lease is surely ours: nothing is sent after it.
    """

    lease: Lease
    context: JobContext
    tier: Tier
    todo: deque[RowTask]
    valid_until: float
    turn: ChunkTurn
    ready: deque[RowTask] = field(default_factory=deque)
    in_flight: dict[int, RowTask] = field(default_factory=dict)
    hand_back: bool = False
    hand_back_delay_s: float = 0.0
    give_up: bool = False
    is_lost: bool = False
    wait_until: float = 0.0
    renewed_at: float = 0.0
    _ended: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether no call is reserved."""
        return not (self.ready or self.in_flight)

    @property
    def wants_more(self) -> bool:
        """Whether rows wait to be reserved, and may be."""
        return bool(self.todo) and not (self.hand_back or self.give_up or self.is_lost)

    def stop(self, *, delay_s: float = 0.0) -> None:
        """Send nothing more: the chunk goes back as soon as its calls in flight have ended."""
        self.hand_back = True
        self.hand_back_delay_s = max(self.hand_back_delay_s, delay_s)

    def next_turn(self, wants: int) -> ChunkTurn:
        """Close the turn that was gathered, and begin the next.

        Args:
            wants: How many more calls should be reserved.
        """
        if self.hand_back or self.give_up:
            while self.ready:
                task = self.ready.popleft()
                self.turn.release(task.want)
                self.todo.append(task)
        turn = self.turn
        if self.is_idle and (self.hand_back or self.give_up or not self.todo):
            rows_left = bool(self.todo) and not self.give_up
            turn.state = "ready" if rows_left else "done"
            turn.delay_s = self.hand_back_delay_s if rows_left else 0.0
            self._ended = True
        elif self.wants_more and wants > 0:
            turn.wants = [self.todo[i].want for i in range(min(wants, len(self.todo)))]
        turn.held = [*self.in_flight, *(t.row_no for t in self.ready)]
        self.turn = ChunkTurn(
            chunk_id=turn.chunk_id,
            fence=turn.fence,
            turn_no=turn.turn_no + 1,
            job_id=turn.job_id,
            tier_no=turn.tier_no,
        )
        return turn

    @property
    def has_ended(self) -> bool:
        """Whether its last turn gave it back or ended it."""
        return self._ended

    def accept(self, turn: ChunkTurn, grant: Grant, *, now: float, wait_s: float) -> None:
        """Take what the ledger granted to `turn`."""
        for _ in range(grant.granted):
            self.ready.append(self.todo.popleft())
        if grant.job_state not in ("queued", "running"):
            self.stop()
        elif grant.tier_stopped:
            self.give_up = True
        elif grant.granted < len(turn.wants):
            if grant.granted == 0 and grant.job_reserved_nanousd == 0:
                # Nobody holds money that could come free: this row can't be afforded. The planner
                # decides what becomes of it; a cheaper one behind it may still fit.
                self.todo.popleft()
            elif self.is_idle:
                # Calls of our own bring money back when they end, and that is when we ask again; for
                # those of others we can only wait.
                self.wait_until = now + wait_s

    def finish(self, task: RowTask, outcome: Outcome) -> None:
        """Book what came of a call. (`retry` is the driver's: it knows the time.)"""
        match outcome:
            case Answered(reply):
                self.turn.settle(self._answer(task, reply), task.want)
            case Refused(message=message):
                self.turn.refuse(task.want, message)
            case Unknown(reason, message):
                self.turn.lose(task.want, reason)
                task.lost += 1
                if task.lost >= LOST_ATTEMPTS:
                    self.turn.refusals.append(
                        (task.row_no, f"{reason} {task.lost} times; the last time: {message}")
                    )
                else:
                    self.todo.append(task)

    def is_worth_another_try(self, task: RowTask, outcome: Outcome) -> bool:
        """Whether the reservation should serve another attempt at once or after a while."""
        if not isinstance(outcome, Refused):
            return False
        if outcome.kind in (RefusalKind.RATE_LIMIT, RefusalKind.TIER):
            return True
        return (
            outcome.kind in (RefusalKind.SERVER, RefusalKind.CONNECT)
            and task.attempts < SERVER_ATTEMPTS
        )

    def _answer(self, task: RowTask, reply: Reply) -> Answer:
        context = self.context
        text = clean_text(reply.text)
        judgement = context.judge.judge(
            text, task.gold, finish_reason=reply.finish_reason, refusal=reply.refusal
        )
        price = self.tier.bound_price
        cost = (
            task.want.worst_nanousd
            if reply.usage is None
            else price.cost_nanousd(reply.usage, reply.latency_ms / 1000)
        )
        return Answer(
            row_no=task.row_no,
            tier_no=self.lease.tier_no,
            text=text,
            value=judgement.value,
            passed=judgement.passed,
            error=judgement.error,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost_nanousd=cost,
            latency_ms=reply.latency_ms,
            signals=signals_of(reply, context.spec.output),
        )
