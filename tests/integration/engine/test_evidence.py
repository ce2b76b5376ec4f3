"""What the planner knows: nothing is missed however late it was committed, nothing is read twice, and a
planner that begins with nothing knows the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from cascade_batch.engine import control, evidence
from cascade_batch.engine.evidence import JobEvidence, read_evidence
from cascade_batch.engine.job_view import standing_of
from cascade_batch.ledger import ChunkTurn, Lease, claim_chunks, read_balance, take_turn
from cascade_batch.ledger.turn import Want
from cascade_batch.policy.view import UNKNOWN, JobView, Labels
from cascade_batch.store.engine import libpq_url, make_engine, raw_connection
from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.scripted_planner import Script, buy, same, start_all
from tests.integration.ledger.ledger_job import answer

ROOMY = {"max_output_tokens": 64}
NOBODY = {"base_url": "http://127.0.0.1:1/v1", "max_output_tokens": 64}
OWNER = "the test"


def read(bench: Bench, job: str, engine: sa.Engine | None = None) -> JobEvidence:
    engine = engine or bench.engine
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        stored = control.find_job(connection, job)
        return read_evidence(engine, raw_connection(connection), stored.job_id, stored.spec)


def held(bench: Bench, job: str) -> list[int]:
    return np.flatnonzero(read(bench, job).held[:, 0]).tolist()


@pytest.fixture
async def worker(bench: Bench) -> AsyncIterator[psycopg.AsyncConnection]:
    url = libpq_url(bench.database_url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def claim(connection: psycopg.AsyncConnection, chunks: int) -> list[Lease]:
    return await claim_chunks(connection, owner=OWNER, tiers=["nobody"], lease_s=600, most=chunks)


async def settle(
    connection: psycopg.AsyncConnection, lease: Lease, row_no: int, turn_no: int, **more
) -> None:
    """Answer a row of a chunk, in two turns."""
    want = Want(row_no=row_no, worst_nanousd=1000, lent_nanousd=0, is_first=True)
    ask = ChunkTurn.under(lease, turn_no=turn_no)
    ask.wants = [want]
    tell = ChunkTurn.under(lease, turn_no=turn_no + 1)
    tell.settle(replace(answer(row_no, lease.tier_no, 1000), **more), want)
    for turn in (ask, tell):
        await take_turn(connection, owner=OWNER, lease_s=600, turns=[turn])


async def test_a_commit_that_comes_late_is_not_missed(
    bench: Bench, worker: psycopg.AsyncConnection
):
    job = bench.submit([bench.tier(None, "nobody", **NOBODY)], 6, chunk_rows=2)
    first, second, _ = await claim(worker, 3)
    assert held(bench, job) == []
    url = libpq_url(bench.database_url)
    async with await psycopg.AsyncConnection.connect(url) as late:
        want = Want(row_no=0, worst_nanousd=1000, lent_nanousd=0, is_first=True)
        ask = ChunkTurn.under(first, turn_no=0)
        ask.wants = [want]
        await take_turn(worker, owner=OWNER, lease_s=600, turns=[ask])
        tell = ChunkTurn.under(first, turn_no=1)
        tell.settle(answer(0, 0, 1000), want)
        # It holds the job's balance: what follows must do without.
        await take_turn(late, owner=OWNER, lease_s=600, turns=[tell])
        await worker.execute(
            "INSERT INTO cascade_store.answer (job_id, row_no, tier_no, cost_nanousd, latency_ms,"
            " chunk_id) VALUES (%s, 2, 0, 1, 1, %s)",
            (second.job_id, second.chunk_id),
        )
        await worker.execute(
            "UPDATE cascade_store.chunk SET turn_no = turn_no + 1 WHERE chunk_id = %s",
            (second.chunk_id,),
        )
        assert held(bench, job) == [2]
        await late.commit()
    assert held(bench, job) == [0, 2]


async def test_only_chunks_that_took_a_turn_are_looked_at(
    bench: Bench, worker: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
):
    job = bench.submit([bench.tier(None, "nobody", **NOBODY)], 8, chunk_rows=2)
    first, second, *_ = await claim(worker, 4)
    await settle(worker, first, 0, 0)
    assert held(bench, job) == [0]
    looked_at: list[int] = []
    real = evidence._turned

    def turned(table, chunks):
        looked_at.extend(chunk.chunk_id for chunk in chunks)
        return real(table, chunks)

    monkeypatch.setattr(evidence, "_turned", turned)
    assert held(bench, job) == [0]
    assert looked_at == []
    await settle(worker, second, 3, 0)
    assert held(bench, job) == [0, 3]
    assert looked_at == [second.chunk_id]
    # However much is new, it is found.
    monkeypatch.setattr(evidence, "_LOOK_UP_AT_MOST", 0)
    await settle(worker, first, 1, 2)
    assert held(bench, job) == [0, 1, 3]


async def test_a_database_from_a_backup_is_read_anew(bench: Bench, worker: psycopg.AsyncConnection):
    job = bench.submit([bench.tier(None, "nobody", **NOBODY)], 6, chunk_rows=2)
    first, second, _ = await claim(worker, 3)
    await settle(worker, first, 0, 0)
    await settle(worker, second, 2, 0)
    assert held(bench, job) == [0, 2]
    j = bench.job_id(job)
    bench.execute("DELETE FROM cascade_store.answer WHERE job_id = :j AND row_no = 2", j=j)
    bench.execute(
        "UPDATE cascade_store.chunk SET turn_no = 0 WHERE chunk_id = :c", c=second.chunk_id
    )
    assert held(bench, job) == [0]
    bench.execute("DELETE FROM cascade_store.answer WHERE job_id = :j", j=j)
    bench.execute("DELETE FROM cascade_store.chunk WHERE chunk_id = :c", c=first.chunk_id)
    assert held(bench, job) == []


async def test_refusals_that_were_taken_back_are_forgotten(bench: Bench):
    job = bench.submit([bench.tier(None, "nobody", **NOBODY)], 3)
    bench.execute(
        "INSERT INTO cascade_store.refusal (job_id, row_no, tier_no, message)"
        " VALUES (:j, 1, 0, 'no')",
        j=bench.job_id(job),
    )
    assert read(bench, job).refused[:, 0].tolist() == [False, True, False]
    bench.execute("DELETE FROM cascade_store.refusal WHERE job_id = :j", j=bench.job_id(job))
    assert not read(bench, job).refused.any()


async def test_a_planner_that_begins_with_nothing_knows_the_same(bench: Bench):
    """Views of one that saw the job grow, step by step, against views of one that comes new each time."""
    models = {
        "small": {"simulate": {"choices": ["a", "b"], "accuracy": 0.5, "gold": "#(a|b)"}},
        "large": {"simulate": {"choices": ["a", "b"], "accuracy": 0.9, "gold": "#(a|b)"}},
    }
    rows = [{"text": f"row {n} #{'ab'[n % 2]}", "label": "ab"[n % 2] if n % 3 else None,
             "group": n % 4} for n in range(40)]  # fmt: skip
    faults = [{"kind": "bad_request", "match": "row 7 "}]
    async with provider(**models, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, logprobs=True),
            bench.tier(served, "large", **ROOMY),
        ]
        script = Script(start_all())
        job = bench.submit(
            tiers, rows, chunk_rows=5, planner=script, gold="label", strata="group",
            output={"choices": ["a", "b"]},
        )  # fmt: skip
        async with bench.worker(tiers) as worker:
            for wave in ([(n, 1) for n in range(10)], [(n, 1) for n in range(10, 40)], []):
                bench.hold_back(job, 2)
                await worker.drive()
                for step in (buy([]), buy(wave)):
                    bench.execute(
                        "UPDATE cascade_store.job SET plan_below = 99, plan_not_before = NULL,"
                        " planned_calls = NULL WHERE name = :j", j=job,
                    )  # fmt: skip
                    if bench.state(job) != "running":
                        break
                    engine = make_engine(bench.database_url)
                    shown = view_of(bench, job, engine)
                    engine.dispose()
                    script.steps = [step]
                    bench.plan(job, script)
                    assert same(script.views[-1], shown)
                bench.execute("UPDATE cascade_store.chunk SET not_before = NULL")
            await bench.finish(job, worker, script)
    last = script.views[-1]
    assert last.labels is Labels.GOLD
    assert last.held[:, 0].sum() == 39
    assert last.barred[7].all()
    assert last.stratum.tolist() == [n % 4 for n in range(40)]
    assert last.has_gold.tolist() == [n % 3 > 0 for n in range(40)]
    gold = last.gold[:, 0]
    assert np.array_equal(gold != UNKNOWN, last.has_gold & last.held[:, 0])
    values = [bench.one("SELECT value FROM cascade.answers WHERE job = :j AND row_no = :r"
                        " AND tier = 'small'", j=job, r=r) for r in range(40)]  # fmt: skip
    right = [values[n] == "ab"[n % 2] for n in range(40)]
    assert [bool(mark) for mark in gold[gold != UNKNOWN]] == [
        right[n] for n in np.flatnonzero(gold != UNKNOWN)
    ]
    both = last.held.all(axis=1)
    same_value = last.value_key[:, 0] == last.value_key[:, 1]
    assert same_value[both].any()
    assert not same_value[both].all()
    assert (last.input_size > 0).all()
    assert (last.confidence[last.held[:, 0], 0] <= 0).all()
    assert np.array_equal(np.isnan(last.length), ~last.held)
    assert (last.verdict == UNKNOWN).all()


def view_of(bench: Bench, job: str, engine: sa.Engine) -> JobView:
    """What a planner in another process would be shown."""
    known = read(bench, job, engine)
    with engine.connect() as connection:
        spec = control.find_job(connection, job).spec
        balance = read_balance(connection, bench.job_id(job))
    return standing_of(known, spec, np.zeros(len(spec.tiers), dtype=bool), balance).view


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        ({}, Labels.AGREEMENT),
        ({"gold": "full"}, Labels.CHECK),
        ({"gold": "full", "gold_use": "train"}, Labels.GOLD),
        ({"gold": "some"}, Labels.GOLD),
        ({"gold": "none"}, Labels.AGREEMENT),
        ({"check": "regex:x"}, Labels.CHECK),
        ({"check": "regex:x", "gold": "some"}, Labels.CHECK),
        ({"check": "exact"}, Labels.AGREEMENT),
        ({"check": "judge:nobody"}, Labels.JUDGE),
        ({"check": "judge:nobody", "gold": "full"}, Labels.JUDGE),
    ],
)
def test_where_the_word_on_an_answer_comes_from(bench: Bench, spec: dict, labels: Labels):
    rows = [{"text": "x", "full": "x", "some": "x" if n else " ", "none": None} for n in range(3)]
    script = Script(start_all())
    job = bench.submit([bench.tier(None, "nobody", **NOBODY)], rows, planner=script, **spec)
    assert script.views[0].labels is labels
    assert bench.status(job)["labels"] == labels.name.lower()
