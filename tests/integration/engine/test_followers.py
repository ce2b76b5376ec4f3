"""Rows that ask what another one asks, at every end that a job can have."""

from __future__ import annotations

import asyncio
import json

from cascade_batch.engine import control
from cascade_batch.engine.sweep import sweep_once
from tests.integration.engine.bench import Bench, provider, until


def texts(*words: str) -> list[dict[str, str]]:
    return [{"text": word} for word in words]


async def test_what_settles_after_a_cancellation_is_followed_when_it_has_settled(bench: Bench):
    async with provider(small={"echo": True, "latency_ms": 500}) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, texts("a", "a", "a"), cache=True)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: bench.status(job)["reserved_nanousd"] > 0)
            await asyncio.to_thread(control.cancel_job, bench.engine, job)
            # In flight: there is nothing to be followed yet, and more may come.
            await asyncio.to_thread(sweep_once, bench.engine, bench.messages)
            await drive
        for _ in range(2):
            sweep_once(bench.engine, bench.messages)
            status = bench.status(job)
            assert (status["status"], status["rows"]["answered"]) == ("cancelled", 3)
            assert [r.answer for r in bench.results(job)] == ["a", "a", "a"]
            assert bench.audit(job).differences == []
        assert served.bill()["calls_total"] == 1


async def test_a_job_that_fails_gives_its_followers_what_their_leaders_have(bench: Bench):
    faults = [{"kind": "unauthorized", "match": "secret"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small")]
        rows = texts("open", "open", "secret", "secret")
        job = bench.submit(tiers, rows, cache=True, chunk_rows=1)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.execute("UPDATE cascade_store.chunk SET not_before = NULL")
            await worker.drive()
        assert bench.state(job) == "failed"
        sweep_once(bench.engine, bench.messages)
    assert [r.answer for r in bench.results(job)] == ["open", "open"]
    assert bench.status(job)["rows"]["answered"] == 2
    assert bench.audit(job).differences == []


async def test_a_job_that_goes_on_after_its_end_is_followed_at_its_next_end(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        rows = texts("a", "a", "b", "b")
        job = bench.submit(tiers, rows, cache=True, chunk_rows=1)
        bench.hold_back(job, 2)
        control.cancel_job(bench.engine, job)
        sweep_once(bench.engine, bench.messages)
        control.resume_job(bench.engine, job, bench.messages)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        bench.execute(
            "UPDATE cascade_store.job SET state = 'failed', finished_at = now() WHERE name = :job",
            job=job,
        )
        sweep_once(bench.engine, bench.messages)
    assert [r.answer for r in bench.results(job)] == ["a", "a"]


async def test_who_is_told_of_a_cancellation_is_told_of_all_answers(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        target = {"url": "https://receiver.example/hook"}
        job = bench.submit(
            tiers, texts("a", "a", "b", "b"), cache=True, chunk_rows=1, notify=(target,)
        )
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        control.cancel_job(bench.engine, job)
    body = bench.one(
        "SELECT body FROM cascade_store.notification WHERE job_id = :job", job=bench.job_id(job)
    )
    told = json.loads(body)["data"]
    assert told["status"] == "cancelled"
    assert told["rows"] == {"total": 4, "answered": 2, "failed": 0, "pending": 2}
    assert bench.status(job)["rows"]["answered"] == 2


async def test_who_is_told_of_a_failure_is_told_of_all_answers(bench: Bench):
    faults = [{"kind": "unauthorized", "match": "secret"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small")]
        target = {"url": "https://receiver.example/hook"}
        rows = texts("open", "open", "secret", "secret")
        job = bench.submit(tiers, rows, cache=True, chunk_rows=1, notify=(target,))
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.execute("UPDATE cascade_store.chunk SET not_before = NULL")
            await worker.drive()
    body = bench.one(
        "SELECT body FROM cascade_store.notification WHERE job_id = :job AND event = 'failed'",
        job=bench.job_id(job),
    )
    assert json.loads(body)["data"]["rows"]["answered"] == 2
    assert bench.audit(job).differences == []


async def test_what_is_saved_does_not_depend_on_how_often_a_job_was_topped_up(bench: Bench):
    """It is what the answers of their leaders cost, of all tiers that were asked."""
    price = {"input": "10", "output": "20"}
    models = {"small": {"echo": True}, "large": {"echo": True, "price": price}}
    async with provider(**models) as served:
        tiers = [bench.tier(served, "small"), bench.tier(served, "large", price=price)]
        rows = texts("one", "one", "two", "two", "two")
        at_once = bench.submit(tiers, rows, cache=True, policy="every")
        await bench.run(at_once, tiers)
        bench.execute("UPDATE cascade_store.job_tier SET fingerprint = NULL")
        worst = bench.one(
            "SELECT sum(worst_nanousd[1])::bigint FROM cascade_store.row"
            " WHERE job_id = :job AND row_no IN (0, 2)",
            job=bench.job_id(at_once),
        )
        by_steps = bench.submit(tiers, rows, cache=True, policy="every", budget_nanousd=worst)
        await bench.run(by_steps, tiers)
        first = bench.status(by_steps)
        control.raise_budget(bench.engine, by_steps, 10**12, bench.messages, actor=None)
        await bench.run(by_steps, tiers)
    costs = {r.row_no: r.cost_nanousd for r in bench.results(at_once)}
    assert (first["status"], first["tiers"]["large"]["answers"]) == ("finished", 0)
    assert 0 < first["saved_nanousd"] < costs[0] + 2 * costs[2]
    for job in (at_once, by_steps):
        status = bench.status(job)
        assert status["tiers"]["large"]["calls"] == 2
        assert status["saved_nanousd"] == costs[0] + 2 * costs[2]
        assert status["rows"]["answered"] == 5
        assert {r.tier for r in bench.results(job)} == {"large"}
        assert bench.audit(job).differences == []
