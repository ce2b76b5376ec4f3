"""What is bought next, and where that is nothing, why money is left.

The planner is asked, what it answers is held against the money, and first answers that it left out are added.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cascade_batch.engine.job_view import Standing
from cascade_batch.engine.jobs import Job
from cascade_batch.engine.planner import Planner
from cascade_batch.engine.release import completing_wave, pick
from cascade_batch.ledger import Balance
from cascade_batch.policy import Action, Wave
from cascade_batch.policy.view import Bools

logger = logging.getLogger(__name__)

NONE_FITS = "no worst case of a further call fits into the rest of the budget"
NOT_CARRIED = "what is still worth asking may cost more than the rest of the budget"
NO_GAIN = "no further answer is expected to be better than the one held by a fifth of a point"
ALL_ASKED = "every row has been asked on every tier"
_OF_STOPPED = " that is not stopped"
_THAT_FIT = " (of those whose worst case fits into the rest of the budget)"


class Decided(NamedTuple):
    """What is to be done.

    Attributes:
        wave: What to buy.
        left: Why nothing is, with nothing on its way: in words that follow "money is left:". None: there is
            something, or something is on its way.
    """

    wave: Wave
    left: str | None = None


def decide(job: Job, standing: Standing, balance: Balance, calls: int, planner: Planner) -> Decided:
    """Ask the planner what to buy next.

    Args:
        calls: Calls that the job has made, and rows that it has given up.
    """
    view = standing.view
    is_idle = not standing.open_chunks
    # Nothing can be bought any more that the money would not carry at worst case even if all that is reserved
    # came back: offered again, it would be handed back by workers time after time.
    most = balance.free_nanousd + balance.reserved_nanousd - int(standing.part_nanousd.sum())
    out_of_reach = view.worst_nanousd > max(most, 0) + standing.part_nanousd[:, None]
    out_of_reach &= ~view.barred & ~view.in_flight
    if is_idle and job.planned_calls == calls:
        # The last wave ended without a call made or a row given up: what it wanted could not be afforded,
        # and asking for it again would go on for ever.
        planned = None
    else:
        view = replace(view, barred=view.barred | out_of_reach)
        shown = standing.of_asked(view)
        planned = planner.plan_wave(shown, job.spec.policy, seed=job.spec.seed, wave=job.waves + 1)
        wave = _sound(job, standing, view.barred, standing.of_all(planned))
        if len(wave) or not is_idle:
            return Decided(wave)
    wave = completing_wave(standing, balance)
    return Decided(wave, None if len(wave) else _why_left(job, standing, planned, out_of_reach))


def _sound(job: Job, standing: Standing, barred: Bools, wave: Wave) -> Wave:
    """What of a wave can be bought: all of it, unless a planner errs."""
    at = (wave.row_no, wave.tier_no)
    sound = ~standing.view.in_flight[at] & np.where(
        wave.action == Action.ANSWER,
        ~barred[at] & ~standing.first_on_its_way[wave.row_no],
        standing.view.held[at] & ~standing.has_been_bought(wave.action, at),
    )
    if not sound.all():
        logger.warning("job %s: %d purchases can't be made", job.name, np.sum(~sound))
    return pick(wave, sound)


def _why_left(job: Job, standing: Standing, planned: Wave | None, out_of_reach: Bools) -> str:
    """Why nothing more is bought.

    Args:
        planned: What the planner answered; None: it was not asked, as what it wanted was not to be had.
        out_of_reach: [N, T] calls whose worst case the money does not carry.
    """
    shown = standing.shown
    may_ask = ~shown.barred
    unreachable = out_of_reach if standing.asked is None else out_of_reach[standing.asked]
    if not (may_ask.any() or shown.may_resample.any() or shown.unjudged.any()):
        # A tier that was stopped is barred for rows that it has not answered.
        return ALL_ASKED + (_OF_STOPPED if standing.is_stopped else "")
    if not ((may_ask & ~unreachable).any() or shown.may_resample.any() or shown.unjudged.any()):
        return NONE_FITS
    if planned is None or planned.is_short:
        return NOT_CARRIED
    if job.spec.policy != "auto":
        return f"the policy {job.spec.policy!r} asks for nothing more"
    return NO_GAIN + (_THAT_FIT if unreachable.any() else "")
