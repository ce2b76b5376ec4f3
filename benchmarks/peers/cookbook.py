"""The way of working of the OpenAI cookbook's script for many requests, written anew.

Requests come line by line from a file. One loop lets them go, one at a turn, as far as buckets of requests
and tokens per minute allow, a task each, and rests a millisecond between turns; every answer is appended to
a file as it comes. Nothing bounds the calls in flight. Tokens are counted with tiktoken where its tables
are at hand, else taken as four bytes each, which costs less.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import tiktoken

from benchmarks.peers.measured import measured
from benchmarks.questions import GOOD, MODELS, body

_REQUESTS_PER_MINUTE = 100_000_000.0
_TOKENS_PER_MINUTE = 1e12
_TURN_S = 0.001
_ATTEMPTS = 5


class _Bucket:
    """What may still be used of so much per minute."""

    def __init__(self, per_minute: float) -> None:
        self._per_minute = self.left = per_minute
        self._at = time.time()

    def refill(self) -> None:
        now = time.time()
        gained = self._per_minute * (now - self._at) / 60
        self.left, self._at = min(self._per_minute, self.left + gained), now


async def _post(
    session: aiohttp.ClientSession, url: str, request: dict[str, object], answers: Path
) -> None:
    for _ in range(_ATTEMPTS):
        async with session.post(url, headers={"Authorization": "Bearer none"}, json=request) as got:
            answer = await got.json()
        if "error" not in answer:
            with answers.open("a") as lines:
                lines.write(json.dumps([request, answer]) + "\n")
            return


async def _run(url: str, requests: Path, answers: Path, count: Callable[[str], int]) -> None:
    calls, tokens = _Bucket(_REQUESTS_PER_MINUTE), _Bucket(_TOKENS_PER_MINUTE)
    tasks: list[asyncio.Task[None]] = []
    async with aiohttp.ClientSession() as session:
        with requests.open() as lines:
            for line in lines:
                request = json.loads(line)
                needed = count(request["messages"][0]["content"]) + request["max_tokens"]
                while True:
                    calls.refill()
                    tokens.refill()
                    if calls.left >= 1 and tokens.left >= needed:
                        break
                    await asyncio.sleep(_TURN_S)
                calls.left -= 1
                tokens.left -= needed
                tasks.append(asyncio.create_task(_post(session, url, request, answers)))
                await asyncio.sleep(_TURN_S)
        await asyncio.gather(*tasks)


def _counter() -> Callable[[str], int]:
    try:
        encoding = tiktoken.get_encoding("cl100k_base")
    except (
        Exception
    ):  # its tables are fetched, and whatever that fails with means that they are not there
        return lambda text: len(text) // 4
    return lambda text: len(encoding.encode(text))


def _ask_with(count: Callable[[str], int]) -> Callable[[SimpleNamespace], int]:
    def ask(given: SimpleNamespace) -> int:
        requests, answers = (
            Path(f"{given.first}-{name}.jsonl") for name in ("requests", "answers")
        )
        rows = range(given.first, given.first + given.rows)
        bodies = (body(MODELS[0], row, given.size_bytes).decode() for row in rows)
        requests.write_text("\n".join(bodies))
        asyncio.run(_run(f"{given.url}/chat/completions", requests, answers, count))
        found = [json.loads(line)[1] for line in answers.read_text().splitlines()]
        return sum(one["choices"][0]["message"]["content"] == GOOD for one in found)

    return ask


if __name__ == "__main__":
    measured(_ask_with(_counter()), ["aiohttp", "tiktoken"])
