"""Workers that have to stop or wait, brokers and planners that fail: the work goes on, or is handed back."""

from __future__ import annotations

import asyncio

import pytest

from cascade_batch.engine import calls, plan
from cascade_batch.engine.sweep import sweep_once
from cascade_batch.providers import Providers
from tests.integration.engine.bench import AT_WORK, Bench, provider, until

ROOMY = {"max_output_tokens": 64}


async def test_a_shutdown_does_not_wait_for_rows_that_wait_for_a_retry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calls, "RETRY_BASE_S", 3600.0)
    faults = [{"kind": "server_error", "match": "row 3$"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 8)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] == 8)
            await until(lambda: bench.status(job)["rows"]["answered"] == 7)
            worker.stopping = True
            await drive
    status = bench.status(job)
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.one(
        "SELECT state FROM cascade_store.chunk WHERE job_id = :job", job=bench.job_id(job)
    ) == "ready"  # fmt: skip
    assert bench.audit(job).is_ok


async def test_a_shutdown_does_not_wait_for_a_provider_that_wants_to_be_left_alone(bench: Bench):
    faults = [{"kind": "rate_limit", "nth": [5], "retry_after_s": 3600}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 2})]
        job = bench.submit(tiers, 20, chunk_rows=5)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_refused"] == 1)
            worker.stopping = True
            await drive
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == bill["models"]["small"]["answered"]
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_shutdown_does_not_wait_for_tokens_per_minute(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"tpm": 300})]
        job = bench.submit(tiers, 20, chunk_rows=5)
        async with bench.worker(tiers) as worker:
            gate = worker.gates.gate_for(tiers[0])
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] > 0 and gate.status().waiting > 0)
            worker.stopping = True
            await drive
            assert gate.status().waiting == 0
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == bill["calls_total"] < 20
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_time_slice_that_is_over_hands_back_and_others_come_in(bench: Bench):
    async with provider(small={"echo": True, "latency_ms": 20}) as served:
        slow = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})]
        job = bench.submit(slow, 40, chunk_rows=40)
        async with bench.worker(slow, slice_s=0.1) as worker:
            slices = [await worker.drive()]
            assert slices[0].slice_over
            status = bench.status(job)
            assert 0 < status["rows"]["answered"] < 40
            assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
            # It is free at once for whoever comes next, and the sweeper may say so.
            bench.messages.chunks.clear()
            sweep_once(bench.engine, bench.messages)
            assert job in {notice.job for notice in bench.messages.chunks}
            await bench.finish(job, worker)
        assert served.bill()["duplicates"] == 0
    assert bench.status(job)["rows"]["answered"] == 40
    assert bench.audit(job).is_ok


async def test_a_provider_that_wants_an_hour_of_peace_gets_it_and_the_worker_is_free(bench: Bench):
    faults = [{"kind": "rate_limit", "nth": [3], "retry_after_s": 3600}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})]
        job = bench.submit(tiers, 10)
        async with bench.worker(tiers, slice_s=0.3) as worker:
            assert (await worker.drive()).slice_over
    status = bench.status(job)
    assert status["rows"]["answered"] == 2
    assert status["reserved_nanousd"] == 0


async def test_a_broker_that_hangs_does_not_hold_up_the_work(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        first = bench.submit(tiers, 5)
        async with bench.worker(tiers) as worker:
            second_is_done = asyncio.Event()

            async def hang(job: str) -> None:
                worker.due.append(job)
                if job == first:
                    later = bench.submit(tiers, 5)
                    await until(lambda: bench.status(later)["rows"]["answered"] == 5)
                    second_is_done.set()

            worker._due = hang
            # A slow third job keeps the run alive until the second can be claimed.
            slow = bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})
            third = bench.submit([slow], 200, chunk_rows=10)
            await worker.drive()
            await second_is_done.wait()
    assert bench.status(third)["rows"]["answered"] == 200


async def test_a_broker_that_raises_does_not_stop_the_worker(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 5)
        async with bench.worker(tiers) as worker:

            async def fail(job: str) -> None:
                raise RuntimeError("the broker speaks another language")

            worker._due = fail
            await worker.drive()
            assert bench.status(job)["rows"]["answered"] == 5


async def test_a_planner_that_fails_is_seen_and_ends(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 5)
        async with bench.worker(tiers) as worker:
            await worker.drive()
    bench.execute(
        "UPDATE cascade_store.row SET worst_nanousd = '{}' WHERE job_id = :job",
        job=bench.job_id(job),
    )
    for attempt in range(1, plan.PLAN_ATTEMPTS + 1):
        assert bench.state(job) in AT_WORK
        # The sweeper asks again, later each time.
        bench.messages.plans.clear()
        sweep_once(bench.engine, bench.messages)
        assert (job in bench.messages.plans) == (attempt == 1)
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it is
            bench.plan(job)
        assert "The planner failed" in bench.status(job)["reason"]
        assert "ValueError" in bench.status(job)["reason"]
    assert bench.state(job) == "failed"
    assert bench.status(job)["rows"]["answered"] == 5


async def test_a_row_that_kills_its_worker_is_given_up_after_three(bench: Bench):
    """The worker is killed while the row is in flight: the lease runs out, again and again."""
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 1)
        job_id = bench.job_id(job)
        for _ in range(3):
            async with bench.worker(tiers) as worker:
                held = asyncio.Event()

                class Deadly(Providers):
                    async def call(self, tier, body, held=held):
                        held.set()
                        await asyncio.Event().wait()

                worker.providers = Deadly()
                drive = asyncio.create_task(worker.drive())
                await held.wait()
                drive.cancel()
                await asyncio.gather(drive, return_exceptions=True)
            bench.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now()"
                " WHERE job_id = :job AND state = 'leased'",
                job=job_id,
            )
            sweep_once(bench.engine, bench.messages)
        await bench.run(job, tiers)
        assert served.bill()["calls_total"] == 0
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["failed"] == 1
    assert "no known end" in bench.results(job)[0].error
    assert status["tiers"]["small"]["lost_calls"] == 3
    assert bench.audit(job).is_ok


async def test_the_last_rows_of_a_job_do_not_wait_for_ever_for_a_server_at_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calls, "RETRY_BASE_S", 0.001)
    monkeypatch.setattr(calls, "SERVER_TRIES", 8)
    async with provider(small=True, faults=[{"kind": "server_error"}]) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 1)
        await bench.run(job, tiers)
        assert served.bill()["calls_total"] == 8
    assert "HTTP 500" in bench.results(job)[0].error
    assert bench.audit(job).is_ok


async def test_a_short_outage_costs_no_row(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calls, "RETRY_BASE_S", 0.001)
    faults = [{"kind": "server_error", "nth": list(range(1, 9))}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 1)
        await bench.run(job, tiers)
    assert [r.answer for r in bench.results(job)] == ["row 0"]
    assert bench.status(job)["at_risk_nanousd"] == 0
