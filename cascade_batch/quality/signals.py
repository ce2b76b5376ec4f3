"""Signals: what a reply gives away about itself. Runs once per answer, so it is kept to microseconds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

from cascade_batch.domain.answer import Reply, Signals
from cascade_batch.domain.job import Output
from cascade_batch.quality.text import EDGES
from cascade_batch.quality.wording import hedges, refuses

_LOWEST_LOGPROB = -9999.0
"""Servers write minus infinity in several ways; this one survives JSON and arithmetic."""
_TOKEN_EDGES = EDGES + "▁Ġ"
"""Some servers give tokens in their vocabulary's spelling, with a mark in place of a leading space."""
_LEAST_STATED = 1e-6
_SHARED = -1
_SHARED_MASS_LIMIT = 0.01
"""Mass on first tokens that several choices begin with, from which on the first token decides nothing."""


def signals_of(reply: Reply, output: Output) -> Signals:
    """Read the signals of one reply.

    `label_logprob` is set for declared choices only. Where the first token tells the choices apart it is
    the log of the chosen one's share among them, variants of case and leading space summed; choices that
    the server did not list are given as much of the unlisted mass as they can have. Where the first token
    does not tell, it is the sum over the tokens, provided that the text is the choice and nothing else.

    `extra` holds, each only where it applies:

    - `logprob_q10`, `logprob_q50`: the log-probability that 10 % and 50 % of the tokens stay below, of an
      answer of two tokens or more (of a single one it would be `logprob_mean`);
    - `refusal`: true; the provider says that the model declined, so that the answer fits nothing;
    - `refusal_words`: true; the text begins by declining (see `wording`); it may fit all the same;
    - `stated_confidence`: 0 to 1, what the answer says of itself (see `with_stated_confidence`);
    - `hedge_words`: true; the text says that it may be wrong.

    The answer's length is part of its usage.
    """
    logprobs = reply.logprobs
    text = reply.text
    extra: dict[str, Any] = {}
    if reply.refusal:
        extra["refusal"] = True
    if refuses(text):
        extra["refusal_words"] = True
    if hedges(text):
        extra["hedge_words"] = True
    if not logprobs and not reply.top_logprobs:
        return Signals(extra=extra)
    total = mean = lowest = None
    if logprobs:
        total = _bounded(sum(logprobs))
        mean = total / len(logprobs)
        lowest = _bounded(min(logprobs))
        if len(logprobs) > 1:
            ordered = sorted(logprobs)
            last = len(ordered) - 1
            extra["logprob_q10"] = _short(ordered[(last + 5) // 10])
            extra["logprob_q50"] = _short(ordered[last // 2])
    label = None
    if output.choices is not None:
        label = _label_logprob(text, reply.top_logprobs, total, _labels(output.choices))
    return Signals(
        logprob_mean=mean,
        logprob_min=lowest,
        logprob_sum=total,
        label_logprob=label,
        extra=extra,
    )


def with_stated_confidence(signals: Signals, value: Any, output: Output) -> Signals:
    """The signals, with what the answer itself says of its confidence (Tian and others, Just Ask for
    Calibration, 2023) for a log-probability where the server gave none.

    Args:
        signals: What the reply gave away.
        value: The parsed value.
        output: The declared output; nothing happens unless it names a field for this.
    """
    if output.confidence is None or not isinstance(value, dict):
        return signals
    said = value.get(output.confidence)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return signals
    most = output.most_confidence
    # Held to its range first: a whole number may be too large to be divided.
    share = max(max(0, min(said, most)) / most, _LEAST_STATED)
    extra = {**signals.extra, "stated_confidence": round(share, 6)}
    label = signals.label_logprob
    if signals.logprob_mean is None and label is None:
        label = math.log(share)
    return replace(signals, label_logprob=label, extra=extra)


def confidence_of(signals: Signals) -> float | None:
    """The one log-probability that stands for an answer: its label's, else the mean over its tokens.

    The mean and not the sum, because the sum ranks answers by their length. None where the server
    gave no log-probabilities.
    """
    return signals.logprob_mean if signals.label_logprob is None else signals.label_logprob


class _Labels:
    """The choices of an output, by what their texts and first tokens look like.

    Attributes:
        numbers: A choice's text, folded -> its number.
        starts: Everything that a choice can start with -> its number, `_SHARED` where several do.
    """

    __slots__ = ("numbers", "starts")

    def __init__(self, choices: tuple[str, ...]) -> None:
        names = [choice.strip(_TOKEN_EDGES).casefold() for choice in choices]
        self.numbers: dict[str, int] = {}
        self.starts: dict[str, int] = {}
        if "" in names or len(set(names)) < len(names):
            return  # Punctuation or case alone tells these apart: tokens can't be matched safely.
        for number, name in enumerate(names):
            self.numbers[name] = number
            for end in range(1, len(name) + 1):
                start = name[:end]
                self.starts[start] = number if start not in self.starts else _SHARED


@lru_cache(maxsize=256)
def _labels(choices: tuple[str, ...]) -> _Labels:
    return _Labels(choices)


def _label_logprob(
    text: str, top_logprobs: dict[str, float] | None, total: float | None, labels: _Labels
) -> float | None:
    said = text.strip(_TOKEN_EDGES).casefold()
    chosen = labels.numbers.get(said)
    is_whole_text = chosen is not None
    if chosen is None:
        chosen = _leading_label(said, labels)
        if chosen is None:
            return None
    if top_logprobs:
        share = _share(top_logprobs, chosen, labels)
        if share is not None:
            return share
    return total if is_whole_text else None


def _leading_label(said: str, labels: _Labels) -> int | None:
    best = None
    best_length = 0
    for name, number in labels.numbers.items():
        length = len(name)
        if length > best_length and said.startswith(name) and not said[length].isalnum():
            best, best_length = number, length
    return best


def _share(top_logprobs: dict[str, float], chosen: int, labels: _Labels) -> float | None:
    """Log of the chosen label's share of the first token's mass; None where that can't be told."""
    starts = labels.starts
    listed = chosen_mass = label_mass = shared_mass = 0.0
    smallest = 1.0
    seen = set()
    for token, logprob in top_logprobs.items():
        mass = math.exp(min(logprob, 0.0))
        listed += mass
        smallest = min(smallest, mass)
        number = starts.get(token.strip(_TOKEN_EDGES).casefold())
        if number is None:
            continue
        if number == _SHARED:
            shared_mass += mass
            continue
        seen.add(number)
        label_mass += mass
        if number == chosen:
            chosen_mass += mass
    if chosen_mass <= 0.0 or shared_mass > _SHARED_MASS_LIMIT:
        return None
    # A choice that is not listed has no more mass than the least of those that are, and all of them
    # together no more than what is left: without this, a lone listed choice would seem certain.
    unseen = len(labels.numbers) - len(seen)
    label_mass += max(0.0, min(1.0 - listed, unseen * smallest))
    # Not the logarithm of the quotient, which may be too small for a float.
    return _bounded(math.log(chosen_mass) - math.log(label_mass))


def _bounded(logprob: float) -> float:
    return max(_LOWEST_LOGPROB, min(logprob, 0.0))


def _short(logprob: float) -> float:
    """Six significant digits, as it is stored as text: those near 0, which matter most, keep theirs."""
    return float(f"{_bounded(logprob):.6g}")
