"""Many processes spend from one budget at once, some of them dying with money in their hands; a tally
that knows nothing of the ledger adds up what a provider would have billed."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import random
from multiprocessing.synchronize import Barrier

import psycopg

from cascade_batch.engine.chunk_rows import load_rows
from cascade_batch.ledger import ChunkTurn, audit_job, claim_chunks, expire_leases, take_turn
from cascade_batch.ledger.turn import Want
from cascade_batch.store.engine import libpq_url, make_engine
from tests.integration.ledger.ledger_job import answer, make_job

PROCESSES = 12
ROWS = 1200
DRAFT_NANOUSD = 1000
ESCALATION_NANOUSD = 9000
ESCALATIONS_AFFORDABLE = 100


async def _work(database_url: str, seed: int, bill: ctypes.c_longlong, lock: object) -> None:
    """Claim, reserve ten at a time, bill, settle; one worker in four dies on the way."""
    chance = random.Random(seed)
    dies_after = chance.randrange(1, 4) if seed % 4 == 0 else None
    turns = 0
    owner = f"worker-{seed}"
    connection = await psycopg.AsyncConnection.connect(libpq_url(database_url), autocommit=True)
    while True:
        leases = await claim_chunks(
            connection, owner=owner, tiers=["t0", "t1"], lease_s=600, most=1
        )
        if not leases:
            break
        lease = leases[0]
        turn_no = lease.turn_no
        todo = [t.want for t in await load_rows(connection, lease)]
        if lease.tier_no:
            # As in the engine: only what is answered can be escalated.
            todo = [want for want in todo if not want.is_first]
        reserved: list[Want] = []
        while True:
            turn = ChunkTurn(
                chunk_id=lease.chunk_id,
                fence=lease.fence,
                turn_no=turn_no,
                job_id=lease.job_id,
                tier_no=lease.tier_no,
            )
            for want in reserved:
                cost = chance.randrange(want.worst_nanousd // 2, want.worst_nanousd + 1)
                with lock:  # type: ignore[attr-defined]
                    bill.value += cost
                if chance.random() < 0.02:
                    turn.lose(want, "timeout")
                else:
                    turn.settle(answer(want.row_no, lease.tier_no, cost), want)
            wants = todo[:10]
            turn.wants = wants
            if not wants:
                turn.state = "done"
            turns += 1
            if dies_after is not None and turns > dies_after:
                os._exit(9)
            grant = (await take_turn(connection, owner=owner, lease_s=600, turns=[turn]))[
                lease.chunk_id
            ]
            turn_no += 1
            if not wants:
                break
            reserved = wants[: grant.granted]
            todo = todo[grant.granted :] if grant.granted else []
    await connection.close()


def _process(
    database_url: str, seed: int, bill: ctypes.c_longlong, lock: object, start: Barrier
) -> None:
    start.wait()  # so that all of them race, however long their imports took
    asyncio.run(_work(database_url, seed, bill, lock))


def test_processes_racing_for_one_budget_never_bill_more_than_it(fresh_database: str) -> None:
    budget = ROWS * DRAFT_NANOUSD + ESCALATIONS_AFFORDABLE * ESCALATION_NANOUSD
    job_id = make_job(
        fresh_database,
        worst_nanousd=[(DRAFT_NANOUSD, ESCALATION_NANOUSD)] * ROWS,
        budget_nanousd=budget,
        chunk_rows=25,
        escalate=True,
    )
    spawn = multiprocessing.get_context("spawn")
    bill = spawn.Value(ctypes.c_longlong, 0, lock=False)
    lock = spawn.Lock()
    start = spawn.Barrier(PROCESSES)
    workers = [
        spawn.Process(target=_process, args=(fresh_database, seed, bill, lock, start))
        for seed in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted({w.exitcode for w in workers}) == [0, 9]

    async def expire() -> int:
        async with await psycopg.AsyncConnection.connect(
            libpq_url(fresh_database), autocommit=True
        ) as connection:
            await connection.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE state = 'leased'"
            )
            return await expire_leases(connection)

    died_with_a_chunk = asyncio.run(expire())
    assert died_with_a_chunk > 0
    engine = make_engine(fresh_database)
    with engine.connect() as connection:
        report = audit_job(connection, job_id)
    engine.dispose()
    balance = report.balance
    assert report.differences == []
    assert bill.value <= budget
    assert bill.value <= balance.spent_nanousd + balance.at_risk_nanousd
    assert balance.reserved_nanousd == 0
    # Escalations were bought, so the budget was really contested.
    assert balance.spent_nanousd + balance.at_risk_nanousd > ROWS * DRAFT_NANOUSD * 0.75
    assert balance.free_for_escalation_nanousd < ESCALATION_NANOUSD
