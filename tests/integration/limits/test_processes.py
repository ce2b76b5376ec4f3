"""Worker processes that share a tier, seen from the other side: every call is counted there."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from cascade_batch.providers.limits.bucket import HOLD_S, BucketSize
from cascade_batch.providers.limits.shared import LEASE_S

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("gate_process.py")
ANSWER_AFTER_S = 0.02


class Provider:
    """Counts calls: how many there are at once, who made them, and when they passed the gate."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "provider")
        self.in_flight = 0
        self.most_in_flight = 0
        self.by_process: Counter[int] = Counter()
        self.passed_at: list[float] = []
        self.is_stopping = False
        self._changed = asyncio.Condition()
        self._processes: list[asyncio.subprocess.Process] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._answer, self.path)

    async def start_process(self, redis_url: str, key: str, **task: Any) -> int:
        text = orjson.dumps({"redis_url": redis_url, "key": key, "socket": self.path, **task})
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), text.decode(), cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
        )
        self._processes.append(process)
        return process.pid

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def stop(self) -> None:
        """Let every process end, and see that it ended well."""
        self.is_stopping = True
        for process in self._processes:
            assert await process.wait() in {0, -signal.SIGKILL}

    def kill(self, pid: int) -> None:
        next(p for p in self._processes if p.pid == pid).kill()

    async def kill_all(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, passed_at = orjson.loads(await reader.readline())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.by_process[pid] += 1
        self.passed_at.append(passed_at)
        await self._tell()
        # A call takes its time; it is over early if the process that made it is killed.
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            await asyncio.wait_for(reader.read(), ANSWER_AFTER_S)
        self.in_flight -= 1
        if not self.is_stopping:
            writer.write(b"up")
        writer.close()
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider(Path(folder))
        server = await provider.serve()
        yield provider
        await provider.kill_all()
        server.close()


async def test_two_processes_never_have_more_calls_in_flight_than_the_limit(
    provider: Provider, redis_url: str
) -> None:
    key = uuid4().hex
    task = {"limits": {"concurrency": 6}, "callers": 20, "lease_s": LEASE_S}
    pids = [await provider.start_process(redis_url, key, **task) for _ in range(2)]
    await provider.until(lambda: all(provider.by_process[pid] >= 200 for pid in pids))
    await provider.stop()
    assert provider.most_in_flight == 6


async def test_share_of_a_killed_process_goes_to_the_other(
    provider: Provider, redis_url: str
) -> None:
    key = uuid4().hex
    task = {"limits": {"concurrency": 6}, "callers": 20, "lease_s": 2.0}
    dies, lives = [await provider.start_process(redis_url, key, **task) for _ in range(2)]
    await provider.until(lambda: min(provider.by_process[dies], provider.by_process[lives]) >= 50)
    provider.kill(dies)
    await provider.until(lambda: provider.in_flight <= 3)
    await provider.until(lambda: provider.in_flight == 6)
    assert provider.most_in_flight == 6
    await provider.stop()


async def test_two_processes_never_pass_faster_than_the_limit(
    provider: Provider, redis_url: str
) -> None:
    key = uuid4().hex
    task = {"limits": {"rpm": 1_200}, "callers": 10, "lease_s": LEASE_S}
    pids = [await provider.start_process(redis_url, key, **task) for _ in range(2)]
    await provider.until(lambda: provider.by_process.total() >= 80)
    await provider.stop()
    assert all(provider.by_process[pid] > 0 for pid in pids)
    size = BucketSize.for_limit(1_200)
    times = sorted(provider.passed_at)
    for first, began_at in enumerate(times):
        for last in range(first, len(times)):
            elapsed_s = times[last] - began_at + 2 * HOLD_S
            assert last - first + 1 <= size.capacity + size.rate_per_s * elapsed_s


async def test_killed_and_empty_redis_neither_stops_the_work_nor_lifts_the_limit(
    provider: Provider, mortal_valkey: Any
) -> None:
    key = uuid4().hex
    task = {"limits": {"concurrency": 6}, "callers": 20, "lease_s": LEASE_S}
    pids = [await provider.start_process(mortal_valkey.url, key, **task) for _ in range(2)]

    async def calls_from_both(count: int) -> None:
        before = Counter(provider.by_process)
        await provider.until(
            lambda: all(provider.by_process[pid] >= before[pid] + count for pid in pids)
        )

    await calls_from_both(100)
    mortal_valkey.kill()
    await calls_from_both(100)
    mortal_valkey.start()
    await calls_from_both(100)
    newcomer = await provider.start_process(mortal_valkey.url, key, **task)
    await provider.until(lambda: provider.by_process[newcomer] >= 50)
    await provider.stop()
    assert provider.most_in_flight == 6
