"""Why nothing happens: what a job at work that has not moved for a while is waiting for, in plain words."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

STILL_AFTER_S = 60.0
"""Calls may take about as long; whoever has waited longer wants to know."""
SWEEPER_LATE_S = 30.0

_LAST_ENTRY = """
SELECT extract(epoch FROM clock_timestamp() - at)::float FROM cascade_store.entry
 WHERE job_id = :job ORDER BY entry_id DESC LIMIT 1
"""
_SWEEPER = """
SELECT extract(epoch FROM clock_timestamp() - max(at))::float FROM cascade_store.heartbeat
 WHERE part = 'sweeper'
"""
_CHUNKS = """
SELECT tier_name, count(*) FILTER (WHERE state = 'leased') AS leased,
       count(*) FILTER (WHERE state = 'ready' AND coalesce(not_before, '-infinity') <= clock_timestamp())
           AS ready,
       count(*) FILTER (WHERE state = 'ready' AND not_before > clock_timestamp()) AS put_off,
       extract(epoch FROM min(not_before) FILTER (WHERE state = 'ready'
               AND not_before > clock_timestamp()) - clock_timestamp())::float AS again_s,
       extract(epoch FROM min(lease_expires_at) FILTER (WHERE state = 'leased')
               - clock_timestamp())::float AS lease_s
  FROM cascade_store.chunk WHERE job_id = :job AND state <> 'done'
 GROUP BY tier_name ORDER BY tier_name
"""
_PLANNING = "SELECT plan_failures, reading FROM cascade_store.job WHERE job_id = :job"


def standstill_of(connection: sa.Connection, job_id: int) -> dict[str, Any] | None:
    """What a job at work waits for, if no money of it has moved for a while.

    Returns:
        `idle_s`, seconds since the last entry of its ledger, and `reasons`, sentences; None while it moves.
    """
    job = {"job": job_id}
    idle_s = connection.execute(sa.text(_LAST_ENTRY), job).scalar()
    if idle_s is None or idle_s < STILL_AFTER_S:
        return None
    reasons = []
    sweeper_s = connection.execute(sa.text(_SWEEPER)).scalar()
    if sweeper_s is None or sweeper_s > SWEEPER_LATE_S:
        silent = "no sweeper has run" if sweeper_s is None else f"no sweeper for {sweeper_s:.0f} s"
        reasons.append(
            f"{silent}, so that lost messages and dead workers stay: cascade-batch sweeper"
        )
    chunks = connection.execute(sa.text(_CHUNKS), job).mappings().all()
    for tier in chunks:
        reasons += _of_tier(tier)
    if not chunks:
        failures, reading = connection.execute(sa.text(_PLANNING), job).one()
        reasons.append(
            "its data set is being read: the next rows have not come yet"
            if reading
            else f"the planner failed {failures} times and is called again: see its worker's log"
            if failures
            else "the next wave is to be planned: that needs a worker for control"
            " (cascade-batch worker --control)"
        )
    return {"idle_s": round(idle_s, 1), "reasons": reasons}


def _of_tier(tier: Any) -> list[str]:
    name = tier["tier_name"]
    reasons = []
    if tier["leased"]:
        reasons.append(
            f"workers hold {tier['leased']:,} chunks of tier {name} and wait for the provider (slow,"
            f" limiting or down); if they died, others take over in {max(tier['lease_s'], 0):.0f} s"
        )
    if tier["put_off"]:
        reasons.append(
            f"{tier['put_off']:,} chunks of tier {name} were put off after failures; the next is tried in"
            f" {tier['again_s']:.0f} s"
        )
    if tier["ready"] and not tier["leased"]:
        reasons.append(
            f"{tier['ready']:,} chunks wait for a worker of tier {name}: cascade-batch worker --tiers {name}"
        )
    return reasons
