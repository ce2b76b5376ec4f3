"""litellm's `acompletion`: tasks that take prompts from one line."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import litellm

from benchmarks.peers.measured import measured, prompts
from benchmarks.questions import GOOD, MAX_OUTPUT_TOKENS, MODELS


async def _ask(given: SimpleNamespace) -> int:
    line = iter(prompts(given))
    answers = 0

    async def work() -> None:
        nonlocal answers
        for one in line:
            said = await litellm.acompletion(
                model=f"openai/{MODELS[0]}",
                api_base=given.url,
                messages=[{"role": "user", "content": one}],
                max_tokens=MAX_OUTPUT_TOKENS,
            )
            answers += said.choices[0].message.content == GOOD

    await asyncio.gather(*(work() for _ in range(given.concurrency)))
    return answers


if __name__ == "__main__":
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    measured(lambda given: asyncio.run(_ask(given)), ["litellm"])
