"""Sums of money in int64 that can't overflow unnoticed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def affordable_prefix(nanousd: NDArray[np.int64], limit_nanousd: int) -> int:
    """How many of the amounts, taken in order, add up to at most the limit.

    Amounts are not negative. Exact for any amounts that an int64 holds: the running sum is unsigned, and the
    first sum beyond the limit is less than twice the largest int64, so that it is reached unwrapped.
    """
    if limit_nanousd < 0:
        return 0
    beyond = np.cumsum(nanousd, dtype=np.uint64) > np.uint64(limit_nanousd)
    first = int(beyond.argmax()) if beyond.size else 0
    return first if beyond.size and beyond[first] else beyond.size
