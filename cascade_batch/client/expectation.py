"""What a frontier says of more money, in words."""

from __future__ import annotations

import shlex
from typing import Any

from cascade_batch.domain.money import NANOUSD_PER_USD, nanousd_to_usd, usd_to_nanousd

Frontier = dict[str, Any]
"""As `job_status` and `job_frontier` give it."""

_STEP_SHARE = 10
"""A dollar is no small step to a small job: then the next step is this part of its budget."""
_HARDLY_ANY = 0.05


def quality_text(quality: float | None) -> str:
    """A quality as people read it; `-` where it is not known."""
    return "-" if quality is None else f"{quality:.3f}"


def quality_name(frontier: Frontier) -> str:
    """What its numbers may be called: without labels they are not quality."""
    return "expected quality" if frontier["measured"] else "expected (unmeasured)"


def answers_name(frontier: Frontier) -> str:
    """What more of is bought: nobody can say which answers are right where nothing measures it."""
    return "right answers" if frontier["measured"] else "better answers"


def next_money_text(frontier: Frontier, job: str, budget_nanousd: int) -> str:
    """One sentence on what comes next on the curve, and the command that buys it."""
    points = frontier["points"]
    here, _ = _at(frontier, budget_nanousd)
    if (points[-1]["quality"] - here) * frontier["rows"] < _HARDLY_ANY:
        no_more = "more right answers" if frontier["measured"] else "better answers"
        return f"More money is expected to buy no {no_more}."
    step = _step(budget_nanousd)
    amount = f"{nanousd_to_usd(step).normalize():f}"
    there, is_supported = _at(frontier, budget_nanousd + step)
    if step == NANOUSD_PER_USD:
        what, answers = "The next dollar", frontier["next_usd_gain"]
    else:
        what = f"The next ${amount}"
        answers = (there - here) * frontier["rows"]
    guess = "" if is_supported and frontier["measured"] else ", at a guess"
    command = f"cascade-batch budget {shlex.quote(job)} --add {amount}"
    return f"{what}: {_more_text(frontier, answers)}{guess} ({command})."


def _more_text(frontier: Frontier, answers: float) -> str:
    """So many answers more; without labels nobody can say that they will be right."""
    few, more = ("answer improved", "answers improved")
    if frontier["measured"]:
        few, more = ("more right answer", "more right answers")
    return f"less than one {few}" if answers < 1 else f"about {answers_text(answers)} {more}"


def added_money_text(frontier: Frontier, before_nanousd: int, after_nanousd: int) -> str:
    """What is expected of a budget that was just raised."""
    before, _ = _at(frontier, before_nanousd)
    after, is_supported = _at(frontier, after_nanousd)
    guess = "" if is_supported else ", at a guess: too few answers of the tiers it needs were seen"
    name = quality_name(frontier)
    return f"{name.capitalize()}: {quality_text(before)} -> {quality_text(after)}{guess}."


def _step(budget_nanousd: int) -> int:
    """A dollar, or a tenth of the budget to one digit."""
    tenth = budget_nanousd // _STEP_SHARE
    if not 0 < tenth < NANOUSD_PER_USD:
        return NANOUSD_PER_USD
    unit = int(10 ** (len(str(tenth)) - 1))
    return tenth // unit * unit


def _at(frontier: Frontier, budget_nanousd: int) -> tuple[float, bool]:
    """Quality at a budget, between its neighbours on the curve, and whether both are supported; outside the
    curve, as at its end."""
    points = frontier["points"]
    last = None
    for point in points:
        end = usd_to_nanousd(point["budget_usd"])
        if end >= budget_nanousd:
            if last is None or end == budget_nanousd:
                return point["quality"], point["supported"]
            start = usd_to_nanousd(last["budget_usd"])
            share = (budget_nanousd - start) / (end - start)
            quality = last["quality"] + share * (point["quality"] - last["quality"])
            return quality, point["supported"] and last["supported"]
        last = point
    return points[-1]["quality"], points[-1]["supported"]


def answers_text(answers: float) -> str:
    """An expected number of answers: a digit after the point only where it says something."""
    return f"{answers:,.0f}" if answers >= 9.95 else f"{answers:.1f}".removesuffix(".0")
