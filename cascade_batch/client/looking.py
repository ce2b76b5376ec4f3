"""Looking at a job again and again until it is over: what is seen, and how long to wait between looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

from cascade_batch.client.pace import Status
from cascade_batch.domain.job import JobState

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cascade_batch.engine.outlook import Outlook

LOOK_EVERY_S = 0.5
FIRST_LOOKS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Waits between the first looks: a small job is over before half a second has passed."""

_OUTLOOK_SHARE = 20
"""An outlook is taken again when so many times as long has passed as taking the last one took."""


class Sight(NamedTuple):
    """A job at one moment."""

    status: Status
    outlook: Outlook | None = None


def is_over(status: Status) -> bool:
    """Whether nothing more will happen to the job by itself."""
    return JobState(status["status"]).is_over


def looker(engine: sa.Engine, name: str) -> Callable[[], Sight]:
    """What looks at a job: its status every time, its outlook as often as that is cheap.

    Raises:
        JobNotFoundError: There is no such job; upon each look.
    """
    from cascade_batch.engine.outlook import job_outlook
    from cascade_batch.engine.status import job_status

    outlook: Outlook | None = None
    next_s = 0.0

    def look() -> Sight:
        nonlocal outlook, next_s
        with engine.connect() as connection:
            status = job_status(connection, name)
            began_s = time.monotonic()
            if began_s >= next_s or is_over(status):
                outlook = job_outlook(connection, name)
                ended_s = time.monotonic()
                next_s = ended_s + _OUTLOOK_SHARE * (ended_s - began_s)
        return Sight(status, outlook)

    return look


def glancer(engine: sa.Engine) -> Callable[[Status], bool]:
    """What tells by one short question whether a job is still in the state of a status, for the same reason,
    and nothing more went wrong.

    A job that is gone is not: the next look says so.
    """
    import sqlalchemy as sa

    from cascade_batch.store.tables import JOB, JOB_TIER

    troubles = sa.func.sum(JOB_TIER.c.refused_rows + JOB_TIER.c.lost_calls)
    query = (
        sa.select(JOB.c.state, JOB.c.reason, troubles)
        .join(JOB_TIER, JOB_TIER.c.job_id == JOB.c.job_id)
        .where(JOB.c.name == sa.bindparam("job"))
        .group_by(JOB.c.job_id)
    )

    def is_unchanged(status: Status) -> bool:
        with engine.connect() as connection:
            found = connection.execute(query, {"job": status["name"]}).one_or_none()
        seen = sum(t["refused_rows"] + t["lost_calls"] for t in status["tiers"].values())
        return found is not None and tuple(found) == (status["status"], status["reason"], seen)

    return is_unchanged


def pauses_s() -> Iterator[float]:
    """Seconds to wait between two looks."""
    return chain(FIRST_LOOKS_S, repeat(LOOK_EVERY_S))
