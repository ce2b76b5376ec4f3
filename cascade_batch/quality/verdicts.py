"""What a judge tier says about an answer: yes or no, and how sure it is.

Its question is made by `cascade_batch.prompts.judge_prompt`. The reply is read like any answer with declared
choices: a text that says neither, or both, is no verdict.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cascade_batch.domain.answer import Reply
from cascade_batch.domain.job import Output
from cascade_batch.quality.parsing import ChoiceParser, Unfit
from cascade_batch.quality.signals import signals_of

YES_NO = Output(choices=("yes", "no"))
"""What a judge has to answer."""

_parse = ChoiceParser(("yes", "no"))


class Word(NamedTuple):
    """A judge's word.

    Attributes:
        passed: Whether the answer is right; None: the reply does not say.
        probability: The judge's own probability of a yes, from the log-probabilities of its first token;
            None where there are none, or where they are about another word than the one that counts.
        error: Why `passed` is None, in words.
    """

    passed: bool | None
    probability: float | None
    error: str | None


def read_word(reply: Reply) -> Word:
    """Read a judge's reply."""
    said = Unfit("the judge declined") if reply.refusal else _parse(reply.text)
    if isinstance(said, Unfit):
        cut_off = "truncated at max_output_tokens: " if reply.finish_reason == "length" else ""
        return Word(None, None, cut_off + said.reason)
    passed = said == "yes"
    # A judge that reasons first, and says "no" at the end, may have begun with another word.
    begins = reply.text.lstrip(" \n*\"'`(").casefold().startswith(said)
    logprob = signals_of(reply, YES_NO).label_logprob if begins else None
    if logprob is None:
        return Word(passed, None, None)
    share = math.exp(logprob)
    return Word(passed, share if passed else 1.0 - share, None)
