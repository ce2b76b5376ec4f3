"""The baseline of the throughput: the same calls by aiohttp on uvloop, posted and read, nothing else.

    python -m benchmarks.bare_client URL ROWS CONCURRENCY

Prints its seconds and its CPU seconds as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp
import uvloop

HEADERS = {"Content-Type": "application/json"}


def prompt(row: int) -> str:
    """The prompt of a row, here and in the job that is held against this."""
    return f"Is row {row:06} up or down?"


def _bodies(rows: int) -> Iterator[bytes]:
    for row in range(rows):
        message = {"role": "user", "content": prompt(row)}
        yield json.dumps({"model": "small", "messages": [message], "max_tokens": 4}).encode()


async def measure(url: str, rows: int, concurrency: int) -> dict[str, float]:
    """Make the calls, `concurrency` of them at a time."""
    bodies = _bodies(rows)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for body in bodies:
                async with session.post(
                    f"{url}/chat/completions", data=body, headers=HEADERS
                ) as answer:
                    await answer.read()
                    answer.raise_for_status()

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
