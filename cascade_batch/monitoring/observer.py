"""What the engine tells of its work, and what becomes of it: a line in the log, figures, a span.

Figures and spans are made from calls once per turn: while calls end, only `ended` grows, and that only where
somebody watches.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cascade_batch.domain.answer import Answered, Outcome, Refused
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.ledger import ChunkTurn, Lease
from cascade_batch.monitoring import catalogue as names
from cascade_batch.monitoring.catalogue import LATENCY_BOUNDS_S
from cascade_batch.monitoring.channel import Shipper
from cascade_batch.monitoring.logs import context_with
from cascade_batch.monitoring.meter import Meter
from cascade_batch.monitoring.tracing import MOST_ANSWERS, MOST_ERRORS, Tracing, mark_failed
from cascade_batch.providers.limits import BreakerState, GateStatus, TierGate

if TYPE_CHECKING:
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

GATES_EVERY_S = 0.1
_BREAKER = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 1.0, BreakerState.OPEN: 2.0}


@dataclass(slots=True, eq=False)
class Story:
    """A chunk while a worker has it. `context`: what its tasks run in, for what they log."""

    job: str
    tier: str
    chunk_id: int
    rows: int
    context: Context
    started_at: float
    calls: int = 0
    answers: int = 0
    refused: int = 0
    lost: int = 0
    spent_nanousd: int = 0
    span: Span | None = None
    answer_spans: int = 0
    error_spans: int = 0

    def names(self) -> dict[str, str | int]:
        """What its spans are found by."""
        return {
            "cascade.job": self.job,
            "cascade.tier": self.tier,
            "cascade.chunk": self.chunk_id,
        }

    def add(self, turn: ChunkTurn) -> None:
        """What a turn settled."""
        self.calls += turn.calls
        self.answers += len(turn.answers) + len(turn.verdicts)
        self.refused += len(turn.refusals)
        self.lost += len(turn.losses)
        self.spent_nanousd += turn.spent_nanousd + turn.overrun_nanousd

    def figures(self) -> dict[str, int | float]:
        """In numbers."""
        return {
            "rows": self.rows,
            "calls": self.calls,
            "answers": self.answers,
            "refused": self.refused,
            "lost": self.lost,
            "spent_usd": self.spent_nanousd / NANOUSD_PER_USD,
            "seconds": round(time.monotonic() - self.started_at, 3),
        }


EndedCall = tuple[Story, Outcome, float, float]
"""A call's chunk, what came of it, and when it was sent and had ended (by the monotonic clock)."""


@dataclass(slots=True)
class _Tally:
    """Calls of one chunk that were answered in one turn."""

    answered: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Observer:
    """One per worker process. With neither figures nor spans asked for, it only writes the log.

    Attributes:
        ended: Calls as they end, with their chunks; None where nobody watches.
    """

    shipper: Shipper | None = None
    tracing: Tracing | None = None
    ended: list[EndedCall] | None = field(init=False)
    _paused_until: dict[str, float] = field(default_factory=dict)
    _gates_at: float = 0.0
    _tiers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        watched = self.shipper is not None or self.tracing is not None
        self.ended = [] if watched else None

    def opened(self, lease: Lease, *, job: str, tier: str, rows: int) -> Story:
        """A worker took a chunk."""
        context = context_with(job=job, tier=tier, chunk=lease.chunk_id)
        story = Story(job, tier, lease.chunk_id, rows, context, time.monotonic())
        if self.tracing is not None:
            what = {**story.names(), "cascade.rows": rows, "cascade.wave": lease.wave}
            story.span = self.tracing.start(f"chunk {tier}", what)
        return story

    def turned(self, seconds: float) -> None:
        """A turn to the database was taken."""
        self._fold()
        if self.shipper is not None:
            self.shipper.meter.measure(names.TURN_SECONDS, seconds)
            self.shipper.ship()

    def left(self, story: Story, end: str) -> None:
        """A chunk was ended (`done`), given back (`returned`) or `lost` to somebody else."""
        figures = story.figures()
        level = logging.WARNING if end == "lost" else logging.INFO
        story.context.run(logger.log, level, f"chunk {end}", extra=figures)
        if self.ended:
            self._fold()
        if story.span is not None:
            story.span.set_attributes({f"cascade.{name}": value for name, value in figures.items()})
            story.span.set_attribute("cascade.end", end)
            if end == "lost":
                mark_failed(story.span, "the lease went to somebody else")
            story.span.end()
        if self.shipper is not None:
            self.shipper.meter.add(names.CHUNKS, 1, story.job, story.tier, end)

    def saw_gates(self, gates: Iterable[tuple[str, TierGate]]) -> None:
        """How the gates of these tiers stand."""
        now = time.monotonic()
        if self.shipper is None or now < self._gates_at + GATES_EVERY_S:
            return
        self._gates_at = now
        meter = self.shipper.meter
        by_tier: dict[str, list[GateStatus]] = {}
        for tier, gate in set(gates):  # chunks of a tier share it
            by_tier.setdefault(tier, []).append(gate.status())
        for tier, found in by_tier.items():
            meter.show(names.IN_FLIGHT, sum(s.in_flight for s in found), tier)
            meter.show(names.WAITING, sum(s.waiting for s in found), tier)
            meter.show(names.WINDOW, sum(s.may_fly for s in found), tier)
            meter.show(names.BREAKER, max(_BREAKER[s.breaker] for s in found), tier)
            self._note_pause(meter, tier, now, now + max(s.paused_for_s for s in found))
        self._tiers |= by_tier.keys()
        self.shipper.ship()

    def expired(self, leases: int) -> None:
        """Leases of silent workers were taken back."""
        if self.shipper is not None and leases:
            self.shipper.meter.add(names.LEASE_EXPIRIES, leases)

    def planned(self, job: str, outcome: str, seconds: float, purchases: int) -> None:
        """The planner was called."""
        if self.shipper is not None:
            self.shipper.meter.add(names.PLANS, 1, job, outcome)
            self.shipper.meter.add(names.WAVE_ROWS, purchases, job)
            self.shipper.meter.measure(names.PLAN_SECONDS, seconds)
            self.shipper.ship(now=True)

    def rests(self) -> None:
        """Nothing is under way for now."""
        self._fold()
        if self.shipper is not None:
            for tier in self._tiers:
                self.shipper.meter.show(names.IN_FLIGHT, 0, tier)
                self.shipper.meter.show(names.WAITING, 0, tier)
            self.shipper.ship(now=True)

    def close(self) -> None:
        """Send what is left."""
        self.rests()
        if self.tracing is not None:
            self.tracing.close()

    def _note_pause(self, meter: Meter, tier: str, now: float, until: float) -> None:
        known = max(self._paused_until.get(tier, now), now)
        more_s = until - known
        is_new = more_s > 0 and known == now
        self._paused_until[tier] = max(known, until)
        meter.add(names.RATE_LIMIT_WAITS, is_new, tier)
        meter.add(names.RATE_LIMIT_WAIT, max(more_s, 0.0), tier)

    def _fold(self) -> None:
        """Make figures and events of the calls that ended since the last time."""
        ended = self.ended
        if not ended:
            return
        if self.tracing is not None:
            clock_s = time.time() - time.monotonic()
            for call in ended:
                _note_call(self.tracing, call, clock_s)
        if self.shipper is not None:
            _count_calls(self.shipper.meter, ended)
        ended.clear()


def _count_calls(meter: Meter, ended: list[EndedCall]) -> None:
    tallies: dict[Story, _Tally] = {}
    bins: dict[str, list[float]] = {}
    for story, outcome, _, _ in ended:
        if not isinstance(outcome, Answered):
            is_refused = isinstance(outcome, Refused)
            kind = outcome.kind.value if isinstance(outcome, Refused) else outcome.reason
            meter.add(names.ERRORS, 1, story.job, story.tier, kind)
            meter.add(names.CALLS, 1, story.job, story.tier, "refused" if is_refused else "unknown")
            continue
        tally = tallies.get(story)
        if tally is None:
            tally = tallies[story] = _Tally()
            bins[story.tier] = meter.bins(names.LATENCY, story.tier)
        tally.answered += 1
        reply = outcome.reply
        usage = reply.usage
        if usage is not None:
            tally.input_tokens += usage.input_tokens
            tally.output_tokens += usage.output_tokens
            tally.cached_tokens += usage.cached_input_tokens
        seconds = reply.latency_ms / 1000
        histogram = bins[story.tier]
        histogram[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        histogram[-1] += seconds
    for story, tally in tallies.items():
        of = (story.job, story.tier)
        meter.add(names.CALLS, tally.answered, *of, "answered")
        meter.add(names.TOKENS, tally.input_tokens, *of, "input")
        meter.add(names.TOKENS, tally.cached_tokens, *of, "cached_input")
        meter.add(names.TOKENS, tally.output_tokens, *of, "output")


def _note_call(tracing: Tracing, ended: EndedCall, clock_s: float) -> None:
    """Make a span of a call. `clock_s`: what is added to the monotonic clock for the time of day."""
    story, outcome, sent_at, ended_at = ended
    if story.span is None or not story.span.is_recording():
        return
    what: dict[str, str | int | float] = {**story.names(), "cascade.outcome": "answered"}
    trouble: str | None = None
    if isinstance(outcome, Answered):
        story.answer_spans += 1
        every = max(story.rows // MOST_ANSWERS, 1)
        if story.answer_spans % every or story.answer_spans > every * MOST_ANSWERS:
            return
        usage = outcome.reply.usage
        if usage is not None:
            what["cascade.input_tokens"] = usage.input_tokens
            what["cascade.output_tokens"] = usage.output_tokens
    else:
        story.error_spans += 1
        if story.error_spans > MOST_ERRORS:
            return
        trouble = outcome.message
        if isinstance(outcome, Refused):
            what |= {"cascade.outcome": "refused", "cascade.kind": outcome.kind.value}
            if outcome.status is not None:
                what["http.response.status_code"] = outcome.status
        else:
            what |= {"cascade.outcome": "unknown", "cascade.kind": outcome.reason}
    # A loop's clock is that of its last round: a call may seem to be older than its chunk.
    began_at = max(sent_at, story.started_at)
    of_day = int((began_at + clock_s) * 1e9), int((ended_at + clock_s) * 1e9)
    tracing.note(f"call {story.tier}", what, within=story.span, times_ns=of_day, trouble=trouble)
