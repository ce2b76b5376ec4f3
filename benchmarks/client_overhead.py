"""CPU that a call costs beyond what aiohttp itself takes.

    python benchmarks/client_overhead.py [--calls 4000] [--concurrency 64] [--rounds 5]

A scripted provider in a process of its own answers at once. The client makes the same calls twice in turn:
bare (post and read, nothing else) and through `Providers.call`, which also tells apart what may have been
billed, unpacks, parses, and reads usage and log-probabilities. Process time of the client only, so the
server's work and waiting are not in it; the median over the rounds; the ratio is within each round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop
import yaml

from cascade_batch.domain.answer import Answered
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers
from cascade_batch.providers.scripted import spawn_provider

SCRIPT = {
    "models": {
        "plain": {"answers": [{"text": "up", "output_tokens": 1}]},
        "logprobs": {
            "answers": [
                {
                    "text": "up",
                    "output_tokens": 1,
                    "logprob": -0.3,
                    "top_logprobs": {f"word{n}": -2.0 - n for n in range(19)},
                }
            ]
        },
    }
}
PROMPT = Prompt(
    [
        {"role": "system", "content": "You label headlines. " * 4},
        {"role": "user", "content": "Is this headline good for the gold price? " * 12},
    ]
)
OUTPUT = Output(choices=("up", "down", "none"))


async def cpu_us_per_call(one: Callable[[], Awaitable[None]], calls: int, at_once: int) -> float:
    """Process time in microseconds per call."""
    left = calls

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - began) / calls * 1e6


async def measure_calls(url: str, model: str, calls: int, at_once: int, rounds: int) -> None:
    """Print bare, ours, and the ratio."""
    tier = Tier(name=model, model=model, base_url=url, logprobs=model == "logprobs")
    providers = Providers()
    body = providers.request_body(tier, PROMPT, OUTPUT)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def bare() -> None:
            async with session.post(f"{url}/chat/completions", data=body, headers=headers) as got:
                await got.read()

        async def ours() -> None:
            outcome = await providers.call(tier, body)
            assert isinstance(outcome, Answered), outcome

        await cpu_us_per_call(bare, at_once * 4, at_once)
        await cpu_us_per_call(ours, at_once * 4, at_once)
        pairs = [
            (
                await cpu_us_per_call(bare, calls, at_once),
                await cpu_us_per_call(ours, calls, at_once),
            )
            for _ in range(rounds)
        ]
    await providers.close()
    bare_us = statistics.median(b for b, _ in pairs)
    ours_us = statistics.median(o for _, o in pairs)
    ratio = statistics.median(o / b for b, o in pairs)
    print(
        f"call, {model:8}  bare aiohttp {bare_us:6.1f} us   providers {ours_us:6.1f} us"
        f"   ratio {ratio:.2f}"
    )


def measure_bodies() -> None:
    """Print what a request body costs."""
    providers = Providers()
    tier = Tier(name="t", model="m", base_url="http://localhost/v1", logprobs=True)
    for api in ("openai", "anthropic"):
        made = tier.model_copy(update={"api": api})
        rounds = []
        for _ in range(5):
            began = time.process_time()
            for _ in range(50_000):
                providers.request_body(made, PROMPT, OUTPUT)
            rounds.append((time.process_time() - began) / 50_000 * 1e6)
        print(f"request_body, {api:9}  {statistics.median(rounds):.2f} us")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=4_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    measure_bodies()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.yaml"
        script.write_text(yaml.safe_dump(SCRIPT))
        with spawn_provider(script) as provider:
            for model in SCRIPT["models"]:
                uvloop.run(
                    measure_calls(
                        provider.url, model, options.calls, options.concurrency, options.rounds
                    )
                )


if __name__ == "__main__":
    main()
