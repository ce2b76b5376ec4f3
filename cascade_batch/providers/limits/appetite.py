"""How many requests and tokens a gate will need until it can ask again."""

from __future__ import annotations

import math

BLOCK_S = 0.5
"""A block covers this much of the need: two visits to the coordinator, so that one may be late."""

MEMORY_S = 0.5
"""Time constant of the rates that the need is judged by."""


class Appetite:
    """Rates of calls and tokens, smoothed; what they need for the time of a block."""

    __slots__ = ("_at", "_calls_per_s", "_tokens_per_s", "calls", "tokens")

    def __init__(self, now: float) -> None:
        self.calls = 0
        self.tokens = 0
        self._calls_per_s = 0.0
        self._tokens_per_s = 0.0
        self._at = now

    def judge(self, now: float) -> None:
        """Take in what was started since the last time."""
        elapsed_s = now - self._at
        if elapsed_s <= 0:
            return
        weight = 1.0 - math.exp(-elapsed_s / MEMORY_S)
        self._calls_per_s += (self.calls / elapsed_s - self._calls_per_s) * weight
        self._tokens_per_s += (self.tokens / elapsed_s - self._tokens_per_s) * weight
        self._at = now
        self.calls = self.tokens = 0

    def forget(self) -> None:
        """Nothing more is needed."""
        self._calls_per_s = self._tokens_per_s = 0.0

    @property
    def block_calls(self) -> int:
        """Calls to expect in the time of a block."""
        return round(self._calls_per_s * BLOCK_S)

    @property
    def block_tokens(self) -> int:
        """Tokens to expect in the time of a block."""
        return round(self._tokens_per_s * BLOCK_S)
