"""A database whose clock is set back: nobody waits for the time that comes a second time."""

from __future__ import annotations

import psycopg

from cascade_batch.engine.sweep import sweep_once
from cascade_batch.ledger import claim_chunks
from cascade_batch.store.engine import libpq_url
from tests.integration.engine.bench import Bench, until

# What an hour less on the clock is to all that is written down: an hour more.
_AN_HOUR_BACK = """
WITH beat AS (UPDATE cascade_store.heartbeat SET at = at + interval '1 h'),
job AS (UPDATE cascade_store.job SET planned_at = planned_at + interval '1 h',
               plan_not_before = plan_not_before + interval '1 h')
UPDATE cascade_store.chunk SET lease_expires_at = lease_expires_at + interval '1 h',
       not_before = not_before + interval '1 h', published_at = published_at + interval '1 h'
 WHERE state <> 'done'
"""


async def test_an_hour_back_holds_nobody_up(bench: Bench):
    """A dead worker's lease, chunks that were put off or called out, a planner that was called."""
    tiers = [bench.tier(None, "nobody", base_url="http://127.0.0.1:1/v1")]
    job = bench.submit(tiers, 30, chunk_rows=10)
    sweep_once(bench.engine, bench.messages)
    async with await psycopg.AsyncConnection.connect(
        libpq_url(bench.database_url), autocommit=True
    ) as dead:
        leases = await claim_chunks(dead, owner="dead", tiers=["nobody"], lease_s=0.1, most=1)
    bench.execute(
        "UPDATE cascade_store.chunk SET not_before = clock_timestamp() + interval '0.1 s'"
        " WHERE chunk_id = (SELECT max(chunk_id) FROM cascade_store.chunk)"
    )
    bench.execute("UPDATE cascade_store.job SET planned_at = clock_timestamp()")
    bench.execute(_AN_HOUR_BACK)
    bench.messages.chunks.clear()

    def all_are_called_out() -> bool:
        sweep_once(bench.engine, bench.messages)
        return len({notice.chunk_id for notice in bench.messages.chunks}) == 3

    await until(all_are_called_out)
    assert leases[0].chunk_id in {notice.chunk_id for notice in bench.messages.chunks}
    waits = "SELECT count(*) FROM cascade_store.job WHERE name = :job AND planned_at > now()"
    assert bench.one(waits, job=job) == 0
