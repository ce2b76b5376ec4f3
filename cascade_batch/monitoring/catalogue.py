"""Every metric: its name, what it says, its labels. Labels are tiers, jobs, and words from short lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "cascade_batch_"
Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BOUNDS_S = (
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
TURN_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
PLAN_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as Prometheus sees it. `bounds`: upper ends of a histogram's buckets."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "gauge", text, labels)


def _histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    return Metric(PREFIX + name, "histogram", text, labels, bounds)


# Of workers.
CALLS = _counter("calls", "Calls that ended, by what came of them.", "job", "tier", "outcome")
ERRORS = _counter(
    "call_errors", "Calls without an answer, by kind of error.", "job", "tier", "kind"
)
TOKENS = _counter(
    "tokens", "Tokens that providers billed; cached_input is part of input.", "job", "tier", "kind"
)
LATENCY = _histogram(
    "call_latency_seconds", "From sending a call to its whole answer.", LATENCY_BOUNDS_S, "tier"
)
CHUNKS = _counter(
    "chunks", "Chunks that left a worker: done, returned or lost.", "job", "tier", "end"
)
TURN_SECONDS = _histogram(
    "turn_seconds", "Turns to the database, each for many calls.", TURN_BOUNDS_S
)
IN_FLIGHT = _gauge("calls_in_flight", "Calls under way.", "tier")
WAITING = _gauge("calls_waiting", "Calls that wait for the tier's limits.", "tier")
WINDOW = _gauge("calls_window", "Calls that may be under way at once.", "tier")
BREAKER = _gauge("breaker_state", "0: closed, 1: half open, 2: open. The worst of all.", "tier")
RATE_LIMIT_WAITS = _counter("rate_limit_waits", "Pauses that the provider asked for.", "tier")
RATE_LIMIT_WAIT = _counter("rate_limit_wait_seconds", "Time spent in such pauses.", "tier")
LEASE_EXPIRIES = _counter("lease_expiries", "Leases that ran out, as their worker was silent.")

# Of the planner.
PLANS = _counter("plans", "Calls of the planner, by what came of them.", "job", "outcome")
PLAN_SECONDS = _histogram("plan_seconds", "What they took.", PLAN_BOUNDS_S)
WAVE_ROWS = _counter("wave_purchases", "What waves bought: answers and verdicts.", "job")

# Read from the database, for jobs that are not over.
UP = _gauge("database_up", "Whether the database answered the last time it was asked.")
SWEEPS = _counter("sweeps", "Rounds of the sweeper.")
JOBS = _gauge("jobs", "Jobs, by state.", "state")
ROWS = _gauge("rows", "Rows of the job.", "job")
ROWS_ANSWERED = _counter("rows_answered", "Rows by the tier of their first answer.", "job", "tier")
ROWS_FAILED = _gauge("rows_failed", "Rows without any answer, known when the job is over.", "job")
ROWS_REFUSED = _counter("rows_refused", "Rows given up on this tier.", "job", "tier")
ROWS_ESCALATED = _counter(
    "rows_escalated", "Rows sent to this tier after an answer.", "job", "tier"
)
WAVES = _counter("waves", "Waves that were released.", "job")
BUDGET = _gauge("budget_usd", "The job's budget.", "job")
FREE = _gauge("free_usd", "What is neither spent, at risk, reserved nor overrun.", "job")
SPENT = _counter("spent_usd", "Money spent.", "job", "tier")
SAVED = _counter("saved_usd", "Money not spent, as answers were there already.", "job")
RESERVED = _gauge("reserved_usd", "Money set aside for calls under way.", "job", "tier")
AT_RISK = _gauge("at_risk_usd", "Written off: calls that may have been billed.", "job", "tier")
OVERRUN = _gauge("overrun_usd", "Billed beyond the worst case declared.", "job")
QUEUED = _gauge("chunks_queued", "Chunks that wait for a worker.", "job", "tier")
LEASED = _gauge("chunks_leased", "Chunks that workers hold.", "job", "tier")
OLDEST = _gauge("oldest_chunk_age_seconds", "Time since the oldest waiting chunk's wave.", "tier")

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
