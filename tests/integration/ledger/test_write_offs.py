"""Write-offs: listed with their reasons, released by name, once, and by nobody else's leave."""

from __future__ import annotations

import threading

import psycopg
import pytest
import sqlalchemy as sa

from cascade_batch.errors import UsageError
from cascade_batch.ledger import (
    ChunkTurn,
    Selection,
    audit_job,
    claim_chunks,
    list_write_offs,
    read_balance,
    release_write_offs,
    take_turn,
)
from cascade_batch.ledger.turn import Want
from cascade_batch.store.engine import libpq_url, make_engine
from tests.integration.ledger.ledger_job import make_job

WORST = (300, 900)


@pytest.fixture
async def lost(fresh_database: str):
    """An engine, and a job of three rows whose drafts were all lost."""
    job_id = make_job(fresh_database, worst_nanousd=[WORST] * 3, budget_nanousd=3_000, chunk_rows=3)
    connection = await psycopg.AsyncConnection.connect(libpq_url(fresh_database), autocommit=True)
    async with connection:
        (lease,) = await claim_chunks(connection, owner="w", tiers=["t0"], lease_s=60, most=1)
        turn = ChunkTurn.under(lease, turn_no=lease.turn_no)
        turn.wants = [Want(row, WORST[0], WORST[0], True) for row in range(3)]
        await take_turn(connection, owner="w", lease_s=60, turns=[turn])
        lose = ChunkTurn.under(lease, turn_no=lease.turn_no + 1)
        for want in turn.wants:
            lose.lose(want, f"timeout on row {want.row_no}")
        await take_turn(connection, owner="w", lease_s=60, turns=[lose])
    engine = make_engine(fresh_database)
    yield engine, job_id
    engine.dispose()


def listed(engine: sa.Engine, job_id: int, selection: Selection | None = None):
    with engine.connect() as connection:
        return list_write_offs(connection, job_id, selection)


def release(engine: sa.Engine, job_id: int, selection: Selection, **more: str):
    said = {"actor": "Ada", "reason": "invoice 7"} | more
    with engine.begin() as connection:
        return release_write_offs(connection, job_id, selection, **said)


def at_risk(engine: sa.Engine, job_id: int) -> int:
    with engine.connect() as connection:
        return read_balance(connection, job_id).at_risk_nanousd


async def test_they_are_listed_with_row_tier_worst_case_and_reason(lost):
    engine, job_id = lost
    found = [(one.row_no, one.custom_id, one.tier, one.amount_nanousd, one.reason)
             for one in listed(engine, job_id)]  # fmt: skip
    assert found == [(n, str(n), "t0", 300, f"timeout on row {n}") for n in range(3)]


async def test_what_is_released_is_free_again_and_the_ledger_says_who_and_why(lost):
    engine, job_id = lost
    first, second, _ = listed(engine, job_id)
    free = 3_000 - 900
    done, amount, balance = release(engine, job_id, Selection(calls=[first.call, second.call]))
    assert (done, amount) == (2, 600)
    assert balance.at_risk_nanousd == 300
    assert balance.free_nanousd == free + 600
    with engine.connect() as connection:
        assert audit_job(connection, job_id).differences == []
    with engine.connect() as connection:
        entry = connection.execute(
            sa.text(
                "SELECT kind, calls, at_risk_nanousd, actor, reason FROM cascade_store.entry"
                " WHERE job_id = :job ORDER BY entry_id DESC LIMIT 1"
            ),
            {"job": job_id},
        ).one()
    assert tuple(entry) == ("reconcile", 2, -600, "Ada", "invoice 7")


async def test_two_who_release_the_same_at_the_same_time_release_it_once(lost):
    engine, job_id = lost
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(release(engine, job_id, Selection())[:2]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [(0, 0)] * 5 + [(3, 900)]
    assert at_risk(engine, job_id) == 0


async def test_only_what_is_selected_is_released(lost):
    engine, job_id = lost
    middle = listed(engine, job_id)[1]
    assert release(engine, job_id, Selection(tiers=["t1"]))[0] == 0
    assert release(engine, job_id, Selection(until=middle.at))[0] == 0
    assert release(engine, job_id, Selection(since=middle.at, calls=[middle.call]))[0] == 1
    assert at_risk(engine, job_id) == 600


@pytest.mark.parametrize(
    ("selection", "more", "message"),
    [
        (Selection(tiers=["nobody"]), {}, "no tier 'nobody'"),
        (Selection(calls=[10**9]), {}, "no call 1000000000"),
        (Selection(), {"actor": " "}, "a name and a reason"),
        (Selection(), {"reason": ""}, "a name and a reason"),
    ],
)
async def test_what_makes_no_sense_releases_nothing(lost, selection, more, message):
    engine, job_id = lost
    with pytest.raises(UsageError, match=message):
        release(engine, job_id, selection, **more)
    assert at_risk(engine, job_id) == 900
