"""`api: python`: a function of the user's as a model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers, freeze_price

HERE = str(Path(__file__).parent)
ASK = Prompt(
    [
        {"role": "system", "content": "Label."},
        {"role": "user", "content": "Old."},
        {"role": "user", "content": [{"type": "text", "text": "Gold rises."}]},
    ]
)


@pytest.fixture(autouse=True)
def _imports_as_before() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    made = Providers()
    yield made
    labels = sys.modules.get("labels")
    if labels is not None:
        labels.release.set()
    await made.close()


def tier_of(function: str, **more: Any) -> Tier:
    return Tier(
        **{"name": "rules", "api": "python", "function": function, "python_path": HERE} | more
    )


async def call(providers: Providers, tier: Tier, prompt: Prompt = ASK) -> Outcome:
    return await providers.call(tier, providers.request_body(tier, prompt, Output()))


async def text_of(providers: Providers, tier: Tier) -> str:
    outcome = await call(providers, tier)
    assert isinstance(outcome, Answered), outcome
    return outcome.reply.text


async def test_a_function_answers(providers: Providers) -> None:
    outcome = await call(providers, tier_of("labels.by_keyword"))
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"
    assert outcome.reply.finish_reason == "stop"
    assert outcome.reply.usage == Usage(input_tokens=0, output_tokens=0)
    assert outcome.reply.latency_ms > 0


async def test_all_that_a_function_gets_and_may_return(providers: Providers) -> None:
    outcome = await call(providers, tier_of("labels.whole", params={"k": 1}))
    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert reply.text == "Label.|Gold rises.|{'k': 1}|3"
    assert reply.logprobs == (-0.1, -1.0)
    assert reply.top_logprobs == {"up": -0.1}
    assert reply.usage == Usage(input_tokens=3, output_tokens=2)
    assert reply.finish_reason == "length"


async def test_the_model_may_name_the_function(providers: Providers) -> None:
    tier = tier_of("", model="labels.by_keyword")
    assert await text_of(providers, tier.model_copy(update={"function": None})) == "up"


async def test_coroutines_threads_and_inline(providers: Providers) -> None:
    assert await text_of(providers, tier_of("labels.later")) == "later"
    assert await text_of(providers, tier_of("labels.asker")) == "asked"
    assert await text_of(providers, tier_of("labels.inline")) == "MainThread"
    assert await text_of(providers, tier_of("labels.thread_name")) != "MainThread"


@pytest.mark.parametrize("function", ["never", "stuck"])
async def test_a_function_without_end_is_a_time_out(providers: Providers, function: str) -> None:
    outcome = await call(providers, tier_of(f"labels.{function}", timeout_s=0.05))
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "timeout"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("unknown_row", "KeyError: 'no such word'"),
        ("out_of_time", "TimeoutError: its own"),
        ("iterator", "StopIteration"),
        ("leave", "SystemExit: bye"),
        ("nothing", "returned None"),
        ("negative", "output_tokens"),
    ],
)
async def test_an_exception_fails_the_row(providers: Providers, function: str, words: str) -> None:
    outcome = await call(providers, tier_of(f"labels.{function}"))
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.ROW
    assert f"labels.{function}" in outcome.message
    assert words in outcome.message


@pytest.mark.parametrize(
    "function",
    ["no_such_module_.f", "labels.no_such_function", "labels.NOT_CALLABLE", "labels", "broken.f"],
)
async def test_a_function_that_is_not_there_stops_the_tier(
    providers: Providers, function: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("def f(:")
    tier = tier_of(function, python_path=str(tmp_path) if "broken" in function else HERE)
    outcome = await call(providers, tier)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER
    assert "rules" in outcome.message
    assert function in outcome.message


async def test_two_jobs_may_name_their_modules_alike(providers: Providers, tmp_path: Path) -> None:
    tiers = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helper.py").write_text(f"NAME = {name!r}")
        (folder / "mine.py").write_text("import helper\ndef f(row): return helper.NAME")
        tiers.append(tier_of("mine.f", python_path=str(folder)))
    for _ in range(2):
        assert [await text_of(providers, tier) for tier in tiers] == ["one", "two"]


async def test_many_at_once_all_get_their_turn(providers: Providers) -> None:
    tier = tier_of("labels.by_keyword", timeout_s=20)
    outcomes = await asyncio.gather(*(call(providers, tier) for _ in range(500)))
    assert all(isinstance(outcome, Answered) for outcome in outcomes)


async def test_a_price_per_call_is_its_worst_case(providers: Providers) -> None:
    tier = freeze_price(tier_of("labels.by_keyword", price={"call": "0.001"}))
    assert tier.bound_price.worst_case_nanousd(10_000, 1_024, 61) == 1_000_000
