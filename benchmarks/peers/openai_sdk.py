"""The openai SDK: one client, tasks that take prompts from one line."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from openai import AsyncOpenAI

from benchmarks.peers.measured import measured, prompts
from benchmarks.questions import GOOD, MAX_OUTPUT_TOKENS, MODELS


async def _ask(given: SimpleNamespace) -> int:
    line = iter(prompts(given))
    answers = 0
    async with AsyncOpenAI(base_url=given.url, max_retries=0) as client:

        async def work() -> None:
            nonlocal answers
            for one in line:
                said = await client.chat.completions.create(
                    model=MODELS[0],
                    messages=[{"role": "user", "content": one}],
                    max_tokens=MAX_OUTPUT_TOKENS,
                )
                answers += said.choices[0].message.content == GOOD

        await asyncio.gather(*(work() for _ in range(given.concurrency)))
    return answers


if __name__ == "__main__":
    measured(lambda given: asyncio.run(_ask(given)), ["openai"])
