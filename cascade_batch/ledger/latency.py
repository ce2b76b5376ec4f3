"""Latencies, counted in buckets: percentiles of ten million calls without reading ten million answers.

Bucket i counts latencies from `RATIO**i` to `RATIO**(i + 1)` milliseconds; a percentile read from the
buckets is within 5 % of the true one, from a millisecond up to 220 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

RATIO = 1.1
BUCKETS = 130
"""The first one holds everything up to a millisecond as well, the last one everything from 220 seconds on."""

_LOG_RATIO = math.log(RATIO)


def bucket_of(latency_ms: float) -> int:
    """Index of the bucket that counts this latency, whatever a provider says it was."""
    if not 1 < latency_ms < math.inf:
        return 0
    return min(int(math.log(latency_ms) / _LOG_RATIO), BUCKETS - 1)


def percentile_ms(buckets: Sequence[int], share: float) -> float | None:
    """Latency below which `share` (0 to 1) of the calls stayed; None without calls."""
    total = sum(buckets)
    if total == 0:
        return None
    wanted = share * total
    seen = 0
    for index, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return float(round(RATIO ** (index + 0.5), 2))
    return None
