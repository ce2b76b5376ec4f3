"""What `watch` shows beside `status`: what is asked of each tier, what comes next, what went wrong last."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState
from cascade_batch.engine.jobs import find_job
from cascade_batch.settings import settings

_LOOKED_AT = 1000
"""Troubles of a kind that are looked at: those before them are old news."""
_SILENT_SHARE = 0.5
"""Of a lease that is renewed in time, so much or more is left."""
_NUMBER = re.compile(r"\d+")

_SILENT = "c.state = 'leased' AND c.lease_expires_at < clock_timestamp() + make_interval(secs => :silent_s)"
_CHUNKS = f"""
SELECT t.name, t.answers - t.cached + t.verdicts + t.refused_rows AS done,
       t.refused_rows + t.lost_calls AS troubles,
       coalesce(sum(c.row_count), 0)::bigint AS asked,
       coalesce(sum(c.row_count) FILTER (WHERE c.state <> 'done'), 0)::bigint AS open,
       coalesce(sum(cardinality(c.in_flight)) FILTER (WHERE c.state = 'leased'), 0)::bigint AS in_flight,
       coalesce(sum(c.row_count) FILTER (WHERE c.state = 'ready'
                AND c.not_before > clock_timestamp()), 0)::bigint AS put_off,
       count(*) FILTER (WHERE c.state <> 'done') AS open_chunks,
       count(*) FILTER (WHERE c.state = 'leased') AS leased_chunks,
       count(*) FILTER (WHERE {_SILENT}) AS silent_chunks,
       coalesce(sum(c.row_count) FILTER (WHERE {_SILENT}), 0)::bigint AS silent_rows,
       extract(epoch FROM max(c.lease_expires_at) FILTER (WHERE {_SILENT})
               - clock_timestamp())::float AS silent_s
  FROM cascade_store.job_tier t LEFT JOIN cascade_store.chunk c USING (job_id, tier_no)
 WHERE t.job_id = :job
 GROUP BY t.job_id, t.tier_no
 ORDER BY t.tier_no
"""  # noqa: S608
_PLAN = """
SELECT plan_below, plan_failures, reading,
       extract(epoch FROM plan_not_before - clock_timestamp())::float AS rests_s
  FROM cascade_store.job WHERE job_id = :job
"""
_TROUBLES = """
SELECT t.name AS tier, x.what, x.message,
       extract(epoch FROM clock_timestamp() - x.at)::float AS ago_s
  FROM ((SELECT tier_no, 'refused' AS what, message, at FROM cascade_store.refusal
          WHERE job_id = :job ORDER BY at DESC LIMIT :looked_at)
        UNION ALL
        (SELECT tier_no, 'lost', reason, at FROM cascade_store.lost_call
          WHERE job_id = :job ORDER BY lost_call_id DESC LIMIT :looked_at)) x
  JOIN cascade_store.job_tier t ON t.job_id = :job AND t.tier_no = x.tier_no
 ORDER BY x.at DESC
"""


@dataclass(frozen=True, slots=True)
class TierOutlook:
    """What was asked of a tier so far, in calls that bring an answer or a verdict.

    Attributes:
        asked: All that was released to it.
        open: What of it still waits for an answer; calls in flight and those put off are part of it.
        in_flight: Calls whose money is reserved.
        put_off: What waits after failures, to be tried again.
    """

    asked: int
    open: int
    in_flight: int
    put_off: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with some calls of a tier in the same way.

    Attributes:
        tier: Its name.
        what: `refused` (the provider will not answer such a row) or `lost` (it may have been billed).
        kind: What the messages of its kind have in common.
        message: The latest of them, as the provider or the client put it.
        count: How many of the latest thousand.
        ago_s: Seconds since the latest.
    """

    tier: str
    what: str
    kind: str
    message: str
    count: int
    ago_s: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies ahead of a job, and what went wrong last.

    Attributes:
        tiers: By name, cheap to dear.
        next_step: What happens next, or is waited for, in words; None: the job is not at work.
        silent: What workers hold that have not been heard of for too long, a sentence a tier.
        troubles: The most frequent first.
        reading: Its data set is still being read, so that its rows are only those so far.
    """

    tiers: Mapping[str, TierOutlook]
    next_step: str | None
    troubles: tuple[Trouble, ...]
    silent: tuple[str, ...] = ()
    reading: bool = False


def job_outlook(connection: sa.Connection, name: str) -> Outlook:
    """What lies ahead of a job. Reads all of its chunks: some tenths of a second for a hundred million rows.

    Raises:
        JobNotFoundError: There is no such job.
    """
    job = find_job(connection, name)
    key = {"job": job.job_id}
    # Whoever lives renews a lease when a third of it has passed.
    silent = {"silent_s": settings().lease_s * _SILENT_SHARE}
    tiers = connection.execute(sa.text(_CHUNKS), key | silent).mappings().all()
    next_step = None
    reading = False
    if job.state in (JobState.QUEUED, JobState.RUNNING):
        plan = connection.execute(sa.text(_PLAN), key).mappings().one()
        next_step = _next_step(job.waves, tiers, plan)
        reading = plan["reading"]
    troubles: Iterable[Any] = ()
    if any(tier["troubles"] for tier in tiers):
        troubles = connection.execute(
            sa.text(_TROUBLES), {**key, "looked_at": _LOOKED_AT}
        ).mappings()
    return Outlook(
        {t["name"]: _tier(t) for t in tiers},
        next_step,
        group_troubles(troubles),
        tuple(_silent(tier) for tier in tiers if tier["silent_chunks"]),
        reading,
    )


def _tier(row: Any) -> TierOutlook:
    # Chunks know their rows, tiers know what was done: what is open is what neither of them denies.
    left = min(row["open"], max(row["asked"] - row["done"], row["in_flight"]))
    return TierOutlook(row["asked"], left, min(row["in_flight"], left), min(row["put_off"], left))


def _silent(tier: Any) -> str:
    """A worker that was killed leaves its rows to nobody until its lease runs out."""
    chunks = counted(tier["silent_chunks"], "chunk")
    wait, are = ("waits", "is") if tier["silent_chunks"] == 1 else ("wait", "are")
    rows = counted(min(tier["silent_rows"], max(_tier(tier).open, 1)), "row")
    seconds = max(math.ceil(tier["silent_s"]), 0)
    when = f"in {seconds} s at the latest" if seconds else "now"
    return (
        f"{chunks} of tier {tier['name']} (up to {rows}) {wait} for the lease of a worker that gives no sign"
        f" of life; {are} freed for others {when}"
    )


def _next_step(waves: int, tiers: Iterable[Any], plan: Any) -> str:
    open_chunks = sum(tier["open_chunks"] for tier in tiers)
    if plan["reading"]:
        return "drafts what is read; the planner follows when all is"
    if not open_chunks:
        if plan["plan_failures"]:
            return f"the planner failed {plan['plan_failures']:,} times, and is called again"
        return "the planner decides what to buy"
    if not any(tier["leased_chunks"] for tier in tiers):
        idle = " and ".join(tier["name"] for tier in tiers if tier["open_chunks"])
        if all(tier["put_off"] for tier in tiers if tier["open_chunks"]):
            return f"tries again to reach tier {idle}"
        return f"waits for a worker of tier {idle}"
    # The planner comes when fewer than `plan_below` are open.
    chunks = max(open_chunks - plan["plan_below"] + 1, 1)
    when = "one more chunk is" if chunks == 1 else f"{counted(chunks, 'more chunk')} are"
    rests_s = plan["rests_s"] or 0.0
    rest = f", in {rests_s:.0f} s at the earliest" if rests_s >= 1 else ""
    return f"wave {waves + 1} is planned when {when} done{rest}"


def group_troubles(found: Iterable[Any]) -> tuple[Trouble, ...]:
    """Put together what differs in numbers only, such as a row's or a time, the most frequent first.

    Args:
        found: The latest first; each with `tier`, `what`, `message`, `ago_s`.
    """
    groups: dict[tuple[str, str, str], Trouble] = {}
    for one in found:
        kind = _NUMBER.sub("0", one["message"])[:200]
        key = (one["tier"], one["what"], kind)
        latest = groups.get(key) or Trouble(*key, one["message"], 0, one["ago_s"])
        groups[key] = replace(latest, count=latest.count + 1)
    # Of as many, the latest first.
    return tuple(sorted(groups.values(), key=lambda one: -one.count))
