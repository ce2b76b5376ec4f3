"""cascadeflow's `run_batch` with one model, asked directly: one call per row, and no draft that is thrown
away."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

from cascadeflow import CascadeAgent, ModelConfig
from cascadeflow.core.batch_config import BatchConfig

from benchmarks.peers.measured import measured, prompts
from benchmarks.questions import GOOD, MAX_OUTPUT_TOKENS, MODELS

_PATIENCE_S = 600.0


async def _ask(given: SimpleNamespace) -> int:
    model = ModelConfig(name=MODELS[0], provider="vllm", base_url=given.url, cost=0.001)
    agent = CascadeAgent(models=[model], enable_cascade=False)
    config = BatchConfig(
        batch_size=given.rows,
        max_parallel=given.concurrency,
        timeout_per_query=_PATIENCE_S,
        total_timeout=_PATIENCE_S,
        retry_failed=False,
    )
    done = await agent.run_batch(prompts(given), config, max_tokens=MAX_OUTPUT_TOKENS)
    return sum(one is not None and one.content == GOOD for one in done.results)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    measured(lambda given: asyncio.run(_ask(given)), ["cascadeflow"])
