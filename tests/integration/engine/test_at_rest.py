"""Submission, and jobs that nobody works on: nothing half-made, nothing forgotten, no broker needed."""

from __future__ import annotations

import asyncio

import pytest

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.submit import submit_job
from cascade_batch.engine.sweep import sweep_once
from cascade_batch.errors import BudgetError, DataError, JobExistsError, UsageError
from cascade_batch.providers.limits import Gates
from tests.integration.engine.bench import Bench, provider, until

ROOMY = {"max_output_tokens": 64}
NOBODY = {"base_url": "http://127.0.0.1:1/v1"}


def tables(bench: Bench) -> set[str]:
    return {
        name
        for (name,) in bench.all(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname IN ('cascade_store', 'results') AND relkind IN ('r', 'v', 'p')"
        )
    }


async def test_a_job_whose_chunks_are_gone_is_planned_anew(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 15, chunk_rows=5)
        bench.execute(
            "DELETE FROM cascade_store.chunk WHERE job_id = :job AND row_from <> 5",
            job=bench.job_id(job),
        )
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert bench.status(job)["rows"]["answered"] == 5
            bench.messages.plans.clear()
            sweep_once(bench.engine, bench.messages)
            assert job in bench.messages.plans
            await bench.finish(job, worker)
        assert served.bill()["duplicates"] == 0
    assert bench.status(job)["rows"]["answered"] == 15
    assert bench.audit(job).is_ok


async def test_a_queued_job_without_any_chunk_is_planned(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 5)
        bench.execute("DELETE FROM cascade_store.chunk WHERE job_id = :j", j=bench.job_id(job))
        sweep_once(bench.engine, bench.messages)
        assert job in bench.messages.plans
        assert bench.plan(job).purchases == 5
        await bench.run(job, tiers)
    assert bench.status(job)["rows"]["answered"] == 5
    assert bench.audit(job).is_ok


async def test_the_sweeper_leaves_paused_jobs_and_waiting_chunks_alone(bench: Bench):
    tier = bench.tier(None, "nobody", **NOBODY)
    paused, waiting, ready = (bench.submit([tier], 2) for _ in range(3))
    bench.execute("UPDATE cascade_store.job SET state = 'paused' WHERE name = :job", job=paused)
    bench.execute(
        "UPDATE cascade_store.chunk SET not_before = now() + interval '1 h' WHERE job_id = :job",
        job=bench.job_id(waiting),
    )
    bench.messages.chunks.clear()
    sweep_once(bench.engine, bench.messages)
    assert {notice.job for notice in bench.messages.chunks} == {ready}
    # Told once, not again in the next round.
    bench.messages.chunks.clear()
    sweep_once(bench.engine, bench.messages)
    assert bench.messages.chunks == []


async def test_a_tier_without_limits_needs_no_redis(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 30, chunk_rows=10)
        async with bench.worker(tiers) as worker:
            worker.gates = Gates.connect("redis://127.0.0.1:1/0")
            await bench.finish(job, worker)
    assert bench.status(job)["rows"]["answered"] == 30


async def test_a_tier_with_limits_waits_for_redis_and_holds_no_money_when_it_stops(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"rpm": 6000, "concurrency": 4})]
        job = bench.submit(tiers, 30, chunk_rows=10)
        async with bench.worker(tiers) as worker:
            worker.gates = Gates.connect("redis://127.0.0.1:1/0")
            drive = asyncio.create_task(worker.drive())
            await until(lambda: bench.state(job) == "running")
            await until(lambda: worker.driver is not None and worker.driver._last_turn_at > 0)
            worker.stopping = True
            await drive
        assert served.bill()["calls_total"] == 0
    status = bench.status(job)
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_name_is_taken_once_even_by_two_at_the_same_time(bench: Bench):
    tier = bench.tier(None, "nobody", **NOBODY)

    def submit() -> str | Exception:
        try:
            return bench.submit([tier], 50, name="the same name")
        except JobExistsError as error:
            return error

    found = await asyncio.gather(*(asyncio.to_thread(submit) for _ in range(4)))
    assert sum(one == "the same name" for one in found) == 1
    assert sum(isinstance(one, JobExistsError) for one in found) == 3


def test_data_that_breaks_off_leaves_nothing_behind(bench: Bench):
    before = tables(bench)

    def read(*, check):
        from tests.integration.engine.bench import reader

        yield from reader(3)(check=check)
        raise DataError("it ends in the middle", source="data.jsonl", line_no=4)

    spec = JobSpec(
        name="broken data", data="data.jsonl", budget_nanousd=10**9, prompt="{{ text }}",
        tiers=(bench.tier(None, "nobody", **NOBODY),),
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data\.jsonl:4"):
        submit_job(bench.engine, spec, read)
    assert tables(bench) == before
    assert bench.one("SELECT count(*) FROM cascade_store.job WHERE name = 'broken data'") == 0


def test_a_budget_that_can_not_answer_every_row_is_refused_to_the_nano_dollar(bench: Bench):
    tier = bench.tier(None, "nobody", **NOBODY)
    probe = bench.submit([tier], 7)
    needed = bench.one(
        "SELECT sum(worst_nanousd[1])::bigint FROM cascade_store.row WHERE job_id = :job",
        job=bench.job_id(probe),
    )
    bench.submit([tier], 7, budget_nanousd=needed)
    before = tables(bench)
    with pytest.raises(BudgetError, match="7 rows"):
        bench.submit([tier], 7, budget_nanousd=needed - 1)
    assert tables(bench) == before


async def test_a_budget_of_exactly_the_worst_case_answers_every_row(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        probe = bench.submit(tiers, 40)
        budget = bench.one(
            "SELECT sum(worst_nanousd[1])::bigint FROM cascade_store.row WHERE job_id = :job",
            job=bench.job_id(probe),
        )
        bench.execute("UPDATE cascade_store.job SET state = 'cancelled' WHERE name = :j", j=probe)
        job = bench.submit(tiers, 40, budget_nanousd=budget, chunk_rows=7)
        await bench.run(job, tiers)
    status = bench.status(job)
    assert status["rows"]["answered"] == 40
    assert status["spent_nanousd"] < budget
    assert bench.audit(job).is_ok


def test_a_price_beyond_every_account_is_refused_in_words(bench: Bench):
    tier = bench.tier(None, "nobody", **NOBODY, price={"call": "99999999999"})
    with pytest.raises(UsageError, match="more than any budget"):
        bench.submit([tier], 3)
