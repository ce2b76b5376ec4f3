"""Evidence about answers: signals read from a reply, and checks. What follows from it is for `policy` to say.

Steps, each pure:

1. `signals_of` reads from a reply what the model itself gave away: its log-probabilities, its doubts.
2. `make_judge` builds, once per job, the function that reads a value from an answer's text and holds
   it against the declared output, the check and gold. `checks` lists all checks.
3. `value_key` makes a number of a value, equal for answers that say the same.
4. `read_word` reads what a judge tier says about an answer (`judge:TIER`).

An answer that fits the declared output is not thereby a right one: `passed` is True only where a check
had something to hold the answer against.
"""

from cascade_batch.quality.judging import Judge, make_judge
from cascade_batch.quality.signals import confidence_of, signals_of, with_stated_confidence
from cascade_batch.quality.values import value_key
from cascade_batch.quality.verdicts import YES_NO, Word, read_word

__all__ = [
    "YES_NO",
    "Judge",
    "Word",
    "confidence_of",
    "make_judge",
    "read_word",
    "signals_of",
    "with_stated_confidence",
    "value_key",
]
