"""Workers that are presumed dead, connections that break at the worst moment, messages that are lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import psycopg
import pytest

from cascade_batch.engine import sweep
from cascade_batch.engine.driver import Driver
from cascade_batch.engine.sweep import run_sweeper, sweep_once
from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.ledger import ChunkTurn, claim_chunks, take_turn
from cascade_batch.ledger.turn import Want
from cascade_batch.store.engine import libpq_url
from tests.integration.engine.bench import AT_WORK, Bench, provider, until
from tests.integration.engine.proxy import Proxy
from tests.integration.ledger.ledger_job import answer, make_job

ROOMY = {"max_output_tokens": 64}


def let_leases_run_out(bench: Bench, job: str) -> None:
    bench.execute(
        "UPDATE cascade_store.chunk SET lease_expires_at = now()"
        " WHERE job_id = :job AND state = 'leased'",
        job=bench.job_id(job),
    )
    sweep_once(bench.engine, bench.messages)


async def test_a_zombie_writes_nothing_and_its_rows_are_answered_by_another(bench: Bench):
    async with provider(small={"echo": True, "latency_ms": 50}) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 4})]
        job = bench.submit(tiers, 30, chunk_rows=10)
        async with bench.worker(tiers) as zombie, bench.worker(tiers) as other:
            drive = asyncio.create_task(zombie.drive())
            await until(lambda: served.bill()["models"]["small"]["answered"] >= 4)
            let_leases_run_out(bench, job)
            written_off = bench.status(job)
            assert written_off["at_risk_nanousd"] > 0
            # The zombie notices at its next turn; meanwhile its calls go on, and what it gets it keeps
            # to itself. Both work on the rest.
            await asyncio.gather(drive, bench.finish(job, other))
        bill = served.bill()
    status = bench.status(job)
    lost = status["tiers"]["small"]["lost_calls"]
    assert status["rows"]["answered"] == 30
    assert [r.answer for r in bench.results(job)] == [f"row {n}" for n in range(30)]
    assert bill["duplicates"] <= lost
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert status["at_risk_nanousd"] == written_off["at_risk_nanousd"]
    assert bench.audit(job).is_ok


async def test_a_worker_whose_loop_stands_still_sends_nothing_under_an_old_lease(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})]
        job = bench.submit(tiers, 20, chunk_rows=20)
        async with bench.worker(tiers, lease_s=0.2) as worker:
            gone = threading.Event()

            def stand_still(_: Driver) -> None:
                # What a suspended process looks like from within: time has passed, nothing happened.
                let_leases_run_out(bench, job)
                gone.wait(0.3)

            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] >= 5)
            before = served.bill()["calls_total"]
            stand_still(worker.driver)
            worker.stopping = True
            await drive
            assert served.bill()["calls_total"] <= before + 1
        async with bench.worker(tiers) as other:
            await bench.finish(job, other)
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 20
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bench.audit(job).is_ok


async def test_a_worker_that_was_cancelled_leaves_nothing_behind_in_its_loop(bench: Bench):
    async with provider(small={"echo": True, "latency_ms": 1000}) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 4)
        async with bench.worker(tiers) as worker:
            before = asyncio.all_tasks()
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] == 4)
            drive.cancel()
            await asyncio.gather(drive, return_exceptions=True)
            left = {t.get_name() for t in asyncio.all_tasks() - before}
            assert all(name.startswith("gate ") for name in left if "Task" not in name)
            assert not [t for t in asyncio.all_tasks() - before if "_call" in repr(t)]
        let_leases_run_out(bench, job)
    assert bench.audit(job).is_ok


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
async def test_a_connection_that_breaks_in_a_turn_loses_and_doubles_nothing(
    bench: Bench, direction: str
):
    """Every third exchange with the database is cut: half of them before the server heard it, the
    others after it was carried out."""
    async with Proxy.to(bench.database_url) as proxy, provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 8})]
        job = bench.submit(tiers, 60, chunk_rows=10)
        async with bench.worker(tiers, database_url=proxy.url) as worker:
            proxy.cut_every(3, direction)
            await worker.drive()
            proxy.cut_every(0, direction)
            # A claim whose answer was lost left a lease that nobody knows of. Nothing is reserved for it.
            let_leases_run_out(bench, job)
            await bench.finish(job, worker)
        bill = served.bill()
    assert proxy.cuts > 3
    status = bench.status(job)
    assert status["rows"]["answered"] == 60
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["at_risk_nanousd"] == 0
    assert bill["duplicates"] == 0
    assert bench.audit(job).is_ok


async def test_a_turn_repeated_while_its_first_sending_is_at_work_is_told_what_came_of_it(
    fresh_database: str, bench: Bench
):
    job_id = make_job(fresh_database, worst_nanousd=[[10]] * 4, budget_nanousd=100, chunk_rows=4)
    url = libpq_url(fresh_database)
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as first,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as second,
    ):
        (lease,) = [
            lease
            for lease in await claim_chunks(first, owner="w", tiers=["t0"], lease_s=60, most=99)
            if lease.job_id == job_id
        ]

        def turn(turn_no: int) -> ChunkTurn:
            return ChunkTurn(
                chunk_id=lease.chunk_id, fence=lease.fence, turn_no=turn_no, job_id=job_id, tier_no=0
            )  # fmt: skip

        async def take(connection, turn):
            grants = await take_turn(connection, owner="w", lease_s=60, turns=[turn])
            return grants.get(turn.chunk_id)

        wants = [Want(row_no=n, worst_nanousd=10, lent_nanousd=10, is_first=True) for n in range(4)]
        opening = turn(lease.turn_no)
        opening.wants = wants[:3]
        await take(first, opening)
        again = turn(lease.turn_no + 1)
        again.settle(answer(0, 0, 7), wants[0])
        again.held = wants[1:3]
        again.wants = wants[3:]
        # The server is still at the first sending when the second comes in.
        await first.execute("BEGIN")
        told_first = await take(first, again)
        repeated = asyncio.create_task(take(second, again))
        waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = :pid"
        pid = second.info.backend_pid
        await until(lambda: bench.one(waits, pid=pid) == "Lock")
        await first.execute("COMMIT")
        assert await repeated == told_first
    assert told_first.granted == 1
    assert bench.one(
        "SELECT count(*) FROM cascade_store.answer WHERE job_id = :job", job=job_id
    ) == 1  # fmt: skip


async def test_the_database_is_waited_for(bench: Bench):
    async with Proxy.to(bench.database_url) as proxy, provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 40, chunk_rows=10)
        async with bench.worker(tiers, database_url=proxy.url) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] >= 1)
            await proxy.close_down()
            await until(lambda: served.bill()["models"]["small"]["in_flight"] == 0)
            worker.stopping = True
            await until(lambda: worker.database.was_lost_lately)
            assert not drive.done()
            await proxy.open_again()
            await drive
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == bill["models"]["small"]["answered"] > 0
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_job_whose_messages_are_all_lost_is_finished_by_the_sweeper(bench: Bench):
    """Nobody hears of the chunks or of the drained job: the sweeper alone tells worker and planner."""
    async with provider(small=True, large=True) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY),
            bench.tier(served, "large", **ROOMY, price={"input": "2", "output": "4"}),
        ]
        job = bench.submit(tiers, 30, chunk_rows=10)
        bench.messages.chunks.clear()
        rounds = 0
        while bench.state(job) in AT_WORK:
            rounds += 1
            assert rounds < 20
            sweep_once(bench.engine, bench.messages)
            heard = {notice.tier for notice in bench.messages.chunks if notice.job == job}
            bench.messages.chunks.clear()
            if heard:
                async with bench.worker(sorted(heard)) as worker:
                    await worker.drive()
                # As time goes by: the sweeper asks for the planner when nobody did for a while.
                bench.execute(
                    "UPDATE cascade_store.job SET planned_at = NULL WHERE name = :j", j=job
                )
            if job in bench.messages.plans:
                bench.messages.plans.clear()
                bench.plan(job)
    assert bench.status(job)["rows"]["answered"] == 30
    assert bench.state(job) == "finished"
    assert bench.audit(job).is_ok


async def test_two_sweepers_and_many_workers_at_once_do_no_harm(bench: Bench):
    async with provider(small={"echo": True, "latency_ms": 5}) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 8})]
        job = bench.submit(tiers, 120, chunk_rows=5)
        over = threading.Event()

        def sweep() -> int:
            rounds = 0
            while not over.is_set():
                sweep_once(bench.engine, bench.messages)
                rounds += 1
            return rounds

        async with contextlib.AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(bench.worker(tiers)) for _ in range(3)]
            sweeping = [asyncio.to_thread(sweep) for _ in range(2)]
            sweepers = [asyncio.ensure_future(one) for one in sweeping]
            await asyncio.gather(*(worker.drive() for worker in workers))
            over.set()
            assert min(await asyncio.gather(*sweepers)) > 0
            await bench.finish(job, workers[0])
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 120
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert bill["duplicates"] == 0
    assert bench.audit(job).is_ok


async def test_two_planners_at_once_release_one_wave(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY),
            bench.tier(served, "large", **ROOMY, price={"input": "2", "output": "4"}),
        ]
        job = bench.submit(tiers, 12, chunk_rows=4, policy="dearest", budget_nanousd=10**9)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            planned = await asyncio.gather(*(asyncio.to_thread(bench.plan, job) for _ in range(4)))
            assert sum(one is not None for one in planned) == 1
            assert bench.plan(job) is None or bench.state(job) == "finished"
            before = bench.status(job)["waves"]
            await bench.finish(job, worker)
            assert bench.plan(job) is None
            assert bench.status(job)["waves"] >= before
    assert bench.audit(job).is_ok


async def test_a_sweeper_outlives_the_database_and_a_publisher_that_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sweep, "SWEEP_S", 0.01)
    job = bench.submit([bench.tier(None, "nobody", base_url="http://127.0.0.1:1/v1")], 3)
    stop = threading.Event()
    told = []

    class Failing:
        def publish_chunks(self, notices):
            told.append(notices)
            if len(told) == 1:
                # The chunk counts as published, so that it is due again only later.
                bench.execute("UPDATE cascade_store.chunk SET published_at = NULL")
                raise RuntimeError("a fault that nobody thought of")
            if len(told) == 2:
                bench.execute("UPDATE cascade_store.chunk SET published_at = NULL")
                raise ServiceUnreachableError("the database went away")
            stop.set()

        def publish_plan(self, job):
            pass

    sweeper = threading.Thread(target=run_sweeper, args=(bench.database_url, Failing(), stop))
    sweeper.start()
    await asyncio.to_thread(sweeper.join)
    assert len(told) == 3
    assert {notice.job for notice in told[2]} == {job}


async def test_leases_that_ran_out_while_the_server_was_down_get_a_moment(bench: Bench):
    """As long as it takes their workers to come back with answers that are paid for."""
    job = bench.submit([bench.tier(None, "nobody", base_url="http://127.0.0.1:1/v1")], 3)
    bench.execute(
        "UPDATE cascade_store.chunk SET state = 'leased', owner = 'w', fence = 1,"
        " lease_expires_at = now() WHERE job_id = :job",
        job=bench.job_id(job),
    )

    def state_after_sweep(up_for: str) -> str:
        bench.execute(
            "SELECT cascade_store.expire_leases(100, now() - CAST(:up AS interval))", up=up_for
        )
        return bench.one(
            "SELECT state FROM cascade_store.chunk WHERE job_id = :job", job=bench.job_id(job)
        )

    assert state_after_sweep("0 s") == "leased"
    assert state_after_sweep("11 s") == "ready"
