"""Workers that lose their broker: they come back, or they end, and those after them work on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cascade_batch.dispatch.watchdog import EXIT_CODE
from cascade_batch.engine.sweep import run_sweeper
from tests.integration.cut import CutProxy
from tests.integration.dispatch.workers import WorkerProcess, worker_process
from tests.integration.engine.bench import AT_WORK, Bench, provider

pytestmark = pytest.mark.timeout(150)
SERVE = ("--tiers=small", "--control", "--concurrency=2")
ROWS = 16
ROOMY = {"max_output_tokens": 64}
FEW = ROOMY | {"limits": {"concurrency": 8}}
SLOW = {"echo": True, "latency_ms": 4000}
"""Calls outlast the watchdog's patience: some are in flight when it decides."""
IMPATIENT = {"CASCADE_BROKER_AWAY_S": "2", "CASCADE_CONSUMER_SILENT_S": "2"}


@pytest.fixture
def network(redis_url: str) -> Iterator[CutProxy]:
    """What lies between the workers and the broker."""
    with CutProxy.to_url(redis_url) as network:
        yield network


async def until(condition) -> None:
    """Gently: processes want to work meanwhile. The test's timeout ends a vain wait."""
    while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def sweeping(bench: Bench) -> Iterator[None]:
    """A connection that dies takes a message along: the sweeper says it again."""
    stop = threading.Event()
    thread = threading.Thread(target=run_sweeper, args=(bench.database_url, bench.messages, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def settled(status: dict[str, Any], bill: Any) -> None:
    """Nothing was in the air when the children were killed, and something had been."""
    assert status["rows"]["answered"] == bill["calls_total"]
    assert 0 < bill["calls_total"] < ROWS
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0


async def ended_by_its_watchdog(worker: WorkerProcess, family: list[psutil.Process]) -> str:
    """Wait for it; returns its last word."""
    await until(lambda: worker.exit_code is not None)
    last = worker.log().strip().splitlines()[-1]
    assert worker.exit_code == EXIT_CODE, worker.log()
    assert f"ends with exit code {EXIT_CODE}" in last, worker.log()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    return last


async def test_a_worker_whose_broker_stays_away_settles_its_calls_and_ends(
    bench: Bench, redis_url: str, network: CutProxy, tmp_path: Path
):
    url = network.url(redis_url)
    async with provider(small=SLOW) as served:
        with worker_process(tmp_path, bench.database_url, url, *SERVE, **IMPATIENT) as worker:
            await until(lambda: "ready" in worker.log())
            job = bench.submit([bench.tier(served, "small", **FEW)], ROWS, chunk_rows=4)
            await until(lambda: bench.status(job)["reserved_nanousd"] > 0)
            family = worker.family()
            network.cut()
            last = await ended_by_its_watchdog(worker, family)
            assert "not answered for" in last
        settled(bench.status(job), served.bill())

        # Its supervisor starts another while the broker is still away: that one waits for it.
        with worker_process(tmp_path, bench.database_url, url, *SERVE) as worker:
            await until(lambda: network.accepted > 0 and network.held_bytes > 0)
            network.restore()
            await until(lambda: bench.state(job) not in AT_WORK)
        assert served.bill()["duplicates"] == 0
    assert bench.status(job)["rows"]["answered"] == ROWS
    assert bench.audit(job).is_ok


def broken(fault: str) -> tuple[str, str]:
    return str(Path(__file__).with_name("broken_worker.py")), fault


async def test_a_worker_that_is_stuck_at_work_settles_its_calls_and_ends(
    bench: Bench, redis_url: str, tmp_path: Path
):
    urls = (bench.database_url, redis_url)
    async with provider(small=SLOW) as served:
        job = bench.submit([bench.tier(served, "small", **FEW)], ROWS, chunk_rows=4)
        stuck = worker_process(tmp_path, *urls, *SERVE, program=broken("stuck"), **IMPATIENT)
        with stuck as worker:
            await until(lambda: bench.status(job)["reserved_nanousd"] > 0)
            last = await ended_by_its_watchdog(worker, worker.family())
            assert "not asked it for messages" in last
        settled(bench.status(job), served.bill())
        with sweeping(bench), worker_process(tmp_path, *urls, *SERVE):
            await until(lambda: bench.state(job) not in AT_WORK)
    assert bench.status(job)["rows"]["answered"] == ROWS
    assert bench.audit(job).is_ok


@pytest.mark.parametrize("fault", ["deaf", "full"])
async def test_a_worker_that_lives_and_asks_for_nothing_ends(
    bench: Bench, redis_url: str, tmp_path: Path, fault: str
):
    urls = (bench.database_url, redis_url)
    program = broken(fault)
    with worker_process(tmp_path, *urls, *SERVE, program=program, **IMPATIENT) as worker:
        await until(lambda: "ready" in worker.log())
        last = await ended_by_its_watchdog(worker, worker.family())
        assert "not asked it for messages" in last


async def test_a_worker_that_is_idle_or_busy_is_left_alone(
    bench: Bench, redis_url: str, tmp_path: Path
):
    """One child, and calls that take longer than the watchdog waits for a consumer."""
    serve = ("--tiers=small", "--control")
    async with provider(small=SLOW) as served:
        with (
            sweeping(bench),
            worker_process(tmp_path, bench.database_url, redis_url, *serve, **IMPATIENT) as worker,
        ):
            job = bench.submit([bench.tier(served, "small", **FEW)], ROWS, chunk_rows=4)
            await until(lambda: bench.state(job) not in AT_WORK)
            assert worker.exit_code is None, worker.log()
        assert served.bill()["duplicates"] == 0


@pytest.mark.parametrize("blow", ["cut", "drop", "forget"])
async def test_a_worker_finds_back_to_a_broker_that_returns(
    bench: Bench, redis_url: str, network: CutProxy, tmp_path: Path, blow: str
):
    url = network.url(redis_url)
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        with sweeping(bench), worker_process(tmp_path, bench.database_url, url, *SERVE) as worker:
            first = bench.submit(tiers, 20)
            await until(lambda: bench.state(first) not in AT_WORK)
            if blow == "cut":
                network.cut()
                held = network.held_bytes
                await until(lambda: network.held_bytes > held)
            elif blow == "drop":
                network.drop_connections()
            else:
                network.forget_connections()
            second = bench.submit(tiers, 20)
            network.restore()
            await until(lambda: bench.state(second) not in AT_WORK)
            assert worker.exit_code is None, worker.log()
    assert bench.status(second)["rows"]["answered"] == 20


async def test_a_main_process_that_is_killed_alone_takes_its_children_along(
    bench: Bench, redis_url: str, tmp_path: Path
):
    async with provider(small=SLOW) as served:
        job = bench.submit([bench.tier(served, "small", **FEW)], ROWS)
        with worker_process(tmp_path, bench.database_url, redis_url, *SERVE) as worker:
            await until(lambda: bench.status(job)["reserved_nanousd"] > 0)
            family = worker.family()
            os.kill(worker.pid, signal.SIGKILL)
            _, alive = await asyncio.to_thread(psutil.wait_procs, family, 20)
            assert not alive
