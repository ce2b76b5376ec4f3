"""A chunk at work: its rows, from waiting to settled, and what its next turn tells the ledger."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from cascade_batch.domain.answer import Answered, Outcome, Refused, Unknown
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.chunk_rows import RowTask
from cascade_batch.engine.context import JobContext
from cascade_batch.engine.purchases import Purchase
from cascade_batch.ledger import ChunkTurn, Grant, Lease
from cascade_batch.monitoring.observer import Story

LOST_ATTEMPTS = 3
"""How many worst cases may be written off for one row on one tier before it is given up there: a row
that kills its worker or never comes back must not eat the budget."""


@dataclass(slots=True)
class OpenChunk:
    """A leased chunk.

    A row is in one place at a time: `todo` (not reserved), `ready` (reserved, not sent), `in_flight`
    (sent, or before the gate), `resting` (reserved, and to be sent again at a later time of the loop), or
    settled. `valid_until` is the loop's time up to which the lease is surely ours: nothing is sent after
    it.
    """

    lease: Lease
    context: JobContext
    tier: Tier
    purchase: Purchase
    todo: deque[RowTask]
    valid_until: float
    turn: ChunkTurn
    story: Story
    ready: deque[RowTask] = field(default_factory=deque)
    in_flight: dict[int, RowTask] = field(default_factory=dict)
    resting: list[tuple[float, int, RowTask]] = field(default_factory=list)
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
        return not (self.ready or self.in_flight or self.resting)

    @property
    def wants_more(self) -> bool:
        """Whether rows wait to be reserved, and may be."""
        return bool(self.todo) and not (self.hand_back or self.give_up or self.is_lost)

    def may_send(self, now: float) -> bool:
        """Whether a call that is reserved may still go out."""
        return not (self.is_lost or self.hand_back or self.give_up or now > self.valid_until)

    def take(self) -> RowTask:
        """The next call that is reserved, which is on its way from now on."""
        task = self.ready.popleft()
        self.in_flight[task.row_no] = task
        return task

    def unsent(self, task: RowTask) -> None:
        """A call did not go out after all: its reservation waits."""
        if self.in_flight.pop(task.row_no, None) is not None:
            self.ready.append(task)

    def rest(self, task: RowTask, until: float) -> None:
        """A call was refused for now: its reservation serves another one, later."""
        if self.in_flight.pop(task.row_no, None) is not None:
            heapq.heappush(self.resting, (until, task.row_no, task))

    def wake(self, now: float) -> None:
        """Calls that rested long enough may be sent again."""
        while self.resting and self.resting[0][0] <= now:
            self.ready.append(heapq.heappop(self.resting)[2])

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
            for task in (*self.ready, *(task for _, _, task in self.resting)):
                self.turn.release(task.want)
                self.todo.append(task)
            self.ready.clear()
            self.resting.clear()
        turn = self.turn
        if self.is_idle and (self.hand_back or self.give_up or not self.todo):
            rows_left = bool(self.todo) and not self.give_up
            turn.state = "ready" if rows_left else "done"
            turn.delay_s = self.hand_back_delay_s if rows_left else 0.0
            self._ended = True
        elif self.wants_more and wants > 0:
            turn.wants = [self.todo[i].want for i in range(min(wants, len(self.todo)))]
        turn.held = [
            *(task.want for task in self.in_flight.values()),
            *(task.want for task in self.ready),
            *(task.want for _, _, task in self.resting),
        ]
        self.turn = ChunkTurn.under(self.lease, turn_no=turn.turn_no + 1)
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
                # Nobody holds money that could come free: this row can't be afforded, nor can those
                # behind it that take no less, and the planner decides what becomes of them. A turn for
                # each of them would let a chunk of thousands end only after minutes.
                refused = turn.wants[0]
                self.todo = deque(t for t in self.todo if t.want.may_fit_where_not(refused))
            elif self.is_idle:
                # Calls of our own bring money back when they end, and that is when we ask again; for
                # those of others we can only wait.
                self.wait_until = now + wait_s

    def skip_hopeless(self) -> None:
        """Give up the rows that were lost too often already, for whatever reason: a row that kills the
        worker that asks it, say."""
        self.turn.refusals += [
            (task.row_no, f"given up after {task.lost} calls that came to no known end")
            for task in self.todo
            if task.lost >= LOST_ATTEMPTS
        ]
        self.todo = deque(task for task in self.todo if task.lost < LOST_ATTEMPTS)

    def finish(self, task: RowTask, outcome: Outcome) -> None:
        """Book what came of a call. (Whether to try again is for `Calls` to say: it knows the time.)"""
        # Made before the row leaves its place: what fails here is booked as lost, and nothing twice.
        bought = (
            self.purchase.bought(task, outcome.reply) if isinstance(outcome, Answered) else None
        )
        del self.in_flight[task.row_no]
        match outcome:
            case Answered() if bought is not None:
                self.turn.settle(bought, task.want)
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
