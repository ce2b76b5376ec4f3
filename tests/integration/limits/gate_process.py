"""A worker process that does nothing but pass a gate: started by `test_processes.py`.

Every call says over a connection of its own when it passed the gate, and is over when the other side
answers. Ends when the other side closes without an answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import orjson
from redis.asyncio import Redis

from cascade_batch.domain.answer import Answered, Reply
from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits import TierGate
from cascade_batch.providers.limits.shared import Shared


async def call_until_told_to_stop(gate: TierGate, socket_path: str) -> None:
    while True:
        permit = await gate.acquire()
        passed_at = time.monotonic()
        reader, writer = await asyncio.open_unix_connection(socket_path)
        writer.write(orjson.dumps([os.getpid(), passed_at]) + b"\n")
        answer = await reader.read()
        writer.close()
        gate.release(permit, Answered(Reply("up")))
        if not answer:
            return


async def main() -> None:
    task = orjson.loads(sys.argv[1])
    redis = Redis.from_url(task["redis_url"])
    coordinator = Shared(redis, task["key"], f"worker {os.getpid()}", lease_s=task["lease_s"])
    gate = TierGate(Limits(**task["limits"]), coordinator)
    maintained = asyncio.create_task(gate.maintain())
    await asyncio.gather(
        *(call_until_told_to_stop(gate, task["socket"]) for _ in range(task["callers"]))
    )
    maintained.cancel()
    await gate.close()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
