"""Evidence about answers: signals read from a reply, checks, and the probability of being right.

Three steps, each pure:

1. `signals_of` reads from a reply what the model itself gave away: its log-probabilities.
2. `make_judge` builds, once per job, the function that reads a value from an answer's text and holds
   it against the declared output and the check.
3. `estimate_quality` turns all evidence of a job into the probability that each held answer is right.

An answer that fits the declared output is not thereby a right one: `passed` is True only where a check
had something to hold the answer against.
"""

from cascade_batch.quality.calibration import (
    Estimate,
    Evidence,
    estimate_quality,
    expected_quality,
)
from cascade_batch.quality.judging import Judge, make_judge
from cascade_batch.quality.signals import confidence_of, signals_of

__all__ = [
    "Estimate",
    "Evidence",
    "Judge",
    "confidence_of",
    "estimate_quality",
    "expected_quality",
    "make_judge",
    "signals_of",
]
