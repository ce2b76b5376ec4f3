"""Celery workers as processes: woken by messages, stopped, killed, and never a row the worse for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade_batch.engine import sweep
from cascade_batch.engine.sweep import run_sweeper
from tests.integration.dispatch.workers import worker_process
from tests.integration.engine.bench import AT_WORK, Bench, provider

pytestmark = pytest.mark.timeout(120)
ROOMY = {"max_output_tokens": 64}
SLOW = {"echo": True, "latency_ms": 250}


async def until(condition) -> None:
    """As in the bench, but gently: processes want to work meanwhile."""
    while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def sweeper(bench: Bench) -> AsyncIterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_sweeper, args=(bench.database_url, bench.messages, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)


async def test_messages_alone_bring_a_job_to_its_end(bench: Bench, redis_url: str, tmp_path: Path):
    """No sweeper: chunks wake the worker, the drained job calls the planner, and so on to the end."""
    serve = ("--tiers=small,large", "--control")
    async with provider(small=True, large=True) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY),
            bench.tier(served, "large", **ROOMY, price={"input": "2", "output": "4"}),
        ]
        with worker_process(tmp_path, bench.database_url, redis_url, *serve):
            job = bench.submit(tiers, 50, chunk_rows=10)
            await until(lambda: bench.state(job) not in AT_WORK)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 50
    assert status["waves"] > 0
    assert bill["models"]["small"]["nanousd"] == status["tiers"]["small"]["spent_usd"] * 10**9
    assert bench.audit(job).is_ok


async def test_a_worker_that_is_stopped_hands_back_and_one_that_is_killed_is_replaced(
    bench: Bench, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Whoever is killed takes its messages along: the sweeper need not wait long before it says it again.
    monkeypatch.setattr(sweep, "PUBLISH_AGAIN_S", 1)
    urls = (bench.database_url, redis_url)
    serve = ("--tiers=small", "--control", "--concurrency=2")
    quick = {"CASCADE_LEASE_S": "2"}
    async with provider(small=SLOW) as served, sweeper(bench):
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 600, chunk_rows=20)

        def calls() -> int:
            return served.bill()["calls_total"]

        with worker_process(tmp_path, *urls, *serve, **quick) as stopped:
            await until(lambda: calls() >= 20)
            stopped.ask_to_stop()
            await until(lambda: stopped.exit_code is not None)
            assert stopped.exit_code == 0, stopped.log()
        # Everything settled, nothing lost, nothing held.
        status = bench.status(job)
        assert status["rows"]["answered"] == calls() < 600
        assert status["spent_nanousd"] == served.bill()["total_nanousd"]
        assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0

        before = calls()
        with worker_process(tmp_path, *urls, *serve, **quick) as killed:
            await until(lambda: calls() >= before + 16)
            # First a child alone, which Celery replaces; then all of it.
            os.kill(killed.children[0], signal.SIGKILL)
            middle = calls()
            await until(lambda: calls() >= middle + 16)
            killed.kill()

        with worker_process(tmp_path, *urls, *serve, **quick):
            await until(lambda: bench.state(job) not in AT_WORK)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 600
    assert [r.answer for r in bench.results(job)] == [f"row {n}" for n in range(600)]
    lost = status["tiers"]["small"]["lost_calls"]
    assert 0 < lost < 300
    assert bill["duplicates"] <= lost
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bench.audit(job).is_ok


async def test_a_task_that_fails_is_not_tried_for_ever_and_its_chunk_is_not_lost(
    bench: Bench, redis_url: str, tmp_path: Path
):
    """The schema is gone when the message comes, and back when the sweeper looks."""
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        bench.execute("ALTER FUNCTION cascade_store.claim RENAME TO claim_away")
        job = bench.submit(tiers, 20)
        with worker_process(
            tmp_path, bench.database_url, redis_url, "--tiers=small", "--control"
        ) as worker:
            await until(lambda: "UndefinedFunction" in worker.log())
            bench.execute("ALTER FUNCTION cascade_store.claim_away RENAME TO claim")
            assert bench.status(job)["rows"]["answered"] == 0
            # As fifteen seconds later.
            bench.execute("UPDATE cascade_store.chunk SET published_at = NULL")
            async with sweeper(bench):
                await until(lambda: bench.state(job) not in AT_WORK)
            assert worker.log().count("Traceback") < 10
    assert bench.status(job)["rows"]["answered"] == 20
