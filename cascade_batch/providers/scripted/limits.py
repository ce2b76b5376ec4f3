"""Limits that the server enforces: calls and tokens per minute, and calls at once."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_batch.providers.scripted.script import ScriptLimits


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Why a call is not let in. `limit` is `rpm`, `tpm` or `concurrency`."""

    limit: str
    retry_after_s: float


class _Bucket:
    """Holds a minute's worth at most, begins full, and fills evenly.

    Something may be taken as long as it is not empty, so that a call of more tokens than a minute
    holds is let in too; the debt is waited for.
    """

    def __init__(self, per_minute: int, now_s: float) -> None:
        self._capacity = float(per_minute)
        self._per_s = per_minute / 60.0
        self._level = self._capacity
        self._filled_at_s = now_s

    def wait_s(self, now_s: float, at_least: float) -> float:
        grown = (now_s - self._filled_at_s) * self._per_s
        self._level = min(self._capacity, self._level + grown)
        self._filled_at_s = now_s
        return max(0.0, (at_least - self._level) / self._per_s)

    def take(self, amount: int) -> None:
        self._level -= amount


class Limiter:
    """One model's limits."""

    def __init__(self, limits: ScriptLimits, now_s: float) -> None:
        self._concurrency = limits.concurrency
        self._calls = None if limits.rpm is None else _Bucket(limits.rpm, now_s)
        self._tokens = None if limits.tpm is None else _Bucket(limits.tpm, now_s)

    def admit(self, now_s: float, tokens: int, in_flight: int) -> OverLimit | None:
        """Let a call in, or say what holds it back; a call held back takes nothing.

        Args:
            now_s: A monotonic clock.
            tokens: What the call would be billed, input and output.
            in_flight: Calls of the model being worked on.
        """
        if self._concurrency is not None and in_flight >= self._concurrency:
            return OverLimit("concurrency", 1.0)
        if self._calls is not None and (wait_s := self._calls.wait_s(now_s, 1.0)) > 0:
            return OverLimit("rpm", wait_s)
        if self._tokens is not None and (wait_s := self._tokens.wait_s(now_s, 1.0)) > 0:
            return OverLimit("tpm", wait_s)
        if self._calls is not None:
            self._calls.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return None
