"""The limit that the throughput is held against: the same calls by aiohttp on uvloop, posted and read,
nothing else.

    python -m benchmarks.bare_client URL '{"calls": [50000, 15000, 5000], "first": 0, "step": 1,
                                           "size_bytes": 512, "concurrency": 128}'

Each tier has as many calls in flight as the job's tier may have, and waits for no other: escalations go out
as if it had been known that they are needed. Prints when it began and ended (seconds of the machine's
monotonic clock) and its CPU seconds as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypedDict

import aiohttp
import uvloop

from benchmarks.questions import MODELS, body

HEADERS = {"Content-Type": "application/json"}


class Calls(TypedDict):
    """What one process is to do: of so many calls of each tier, those numbered `first`, `first + step`, …"""

    calls: list[int]
    first: int
    step: int
    size_bytes: int
    concurrency: int


async def measure(url: str, calls: Calls) -> dict[str, float]:
    """Make the calls, `concurrency` of each tier at a time."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work(bodies: Iterator[bytes]) -> None:
            for one in bodies:
                async with session.post(
                    f"{url}/chat/completions", data=one, headers=HEADERS
                ) as answer:
                    await answer.read()
                    answer.raise_for_status()

        began, cpu = time.monotonic(), time.process_time()
        workers = []
        for model, count in zip(MODELS, calls["calls"], strict=False):
            rows = range(calls["first"], count, calls["step"])
            bodies = _bodies(model, rows, calls["size_bytes"])
            workers += [work(bodies) for _ in range(calls["concurrency"])]
        await asyncio.gather(*workers)
        return {"began": began, "ended": time.monotonic(), "cpu_s": time.process_time() - cpu}


def _bodies(model: str, rows: Iterable[int], size_bytes: int) -> Iterator[bytes]:
    return (body(model, row, size_bytes) for row in rows)


if __name__ == "__main__":
    # Every call in flight is an open file.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(uvloop.run(measure(sys.argv[1], json.loads(sys.argv[2])))))
