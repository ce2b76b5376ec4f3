"""How long a tier is left alone after a 429."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE_S = 1.0
"""Upper end of the first pause where the provider names no time."""

CAP_S = 60.0
"""Upper end of every later one: limits are per minute, so a minute later all may be well again."""


class Backoff:
    """Exponential backoff with full jitter, for 429s that don't say how long to wait.

    Full jitter (anything from nothing to the current upper end) spreads the workers of a tier best;
    the window of calls in flight shrinks at the same time, so a short pause does no harm.
    """

    __slots__ = ("_attempt", "_uniform")

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._attempt = 0
        self._uniform = uniform

    def next_s(self) -> float:
        """Seconds to pause now; the upper end doubles from call to call."""
        upper_s = min(CAP_S, BASE_S * 2.0**self._attempt)
        self._attempt = min(self._attempt + 1, 16)
        return self._uniform(0.0, upper_s)

    def reset(self) -> None:
        """A call was answered: the next pause is a first one."""
        self._attempt = 0
