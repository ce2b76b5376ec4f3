"""All first answers that are in flight may be lost: escalations leave enough to ask their rows again."""

from __future__ import annotations

import psycopg

from cascade_batch.engine.chunk_rows import load_rows
from cascade_batch.ledger import (
    ChunkTurn,
    Lease,
    audit_job,
    claim_chunks,
    expire_leases,
    read_balance,
    take_turn,
)
from cascade_batch.store.engine import libpq_url, make_engine
from tests.integration.ledger.ledger_job import answer, make_job

DRAFT = 1_000
ESCALATION = 9_000
ROWS = 20


async def _claim(connection, tier: str) -> Lease:
    return (await claim_chunks(connection, owner=tier, tiers=[tier], lease_s=60, most=1))[0]


async def _reserve(connection, lease: Lease, turn_no: int) -> tuple[ChunkTurn, int]:
    turn = ChunkTurn.under(lease, turn_no=turn_no)
    turn.wants = [task.want for task in await load_rows(connection, lease)]
    granted = (await take_turn(connection, owner=f"t{lease.tier_no}", lease_s=60, turns=[turn]))[
        lease.chunk_id
    ].granted
    return turn, granted


async def test_rows_whose_first_calls_were_lost_can_be_asked_again(fresh_database: str):
    job_id = make_job(
        fresh_database,
        worst_nanousd=[(DRAFT, ESCALATION)] * ROWS,
        budget_nanousd=ROWS * DRAFT + 4 * ESCALATION,
        chunk_rows=ROWS // 2,
        escalate=True,
    )
    url = libpq_url(fresh_database)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        # The first half is answered, for nearly nothing.
        first = await _claim(connection, "t0")
        turn, _ = await _reserve(connection, first, first.turn_no)
        done = ChunkTurn.under(first, turn_no=first.turn_no + 1)
        for want in turn.wants:
            done.settle(answer(want.row_no, 0, 10), want)
        done.state = "done"
        await take_turn(connection, owner="t0", lease_s=60, turns=[done])
        # The second half is in flight while all the rest is wanted for the first half's escalations.
        second = await _claim(connection, "t0")
        _, in_flight = await _reserve(connection, second, second.turn_no)
        assert in_flight == ROWS // 2
        dear = await _claim(connection, "t1")
        _, escalated = await _reserve(connection, dear, dear.turn_no)
        assert escalated > 0
        await connection.execute(
            "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE chunk_id = %s",
            [second.chunk_id],
        )
        assert await expire_leases(connection) == 1
        again = await _claim(connection, "t0")
        assert again.chunk_id == second.chunk_id
        _, granted = await _reserve(connection, again, again.turn_no)
        assert granted == ROWS // 2
    engine = make_engine(fresh_database)
    with engine.connect() as connection:
        assert audit_job(connection, job_id).differences == []
    with engine.connect() as connection:
        balance = read_balance(connection, job_id)
    engine.dispose()
    # No more was held back than that: another escalation did not fit.
    assert balance.free_nanousd - balance.ring_fence_nanousd < ESCALATION
