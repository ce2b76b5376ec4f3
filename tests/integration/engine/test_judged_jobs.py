"""Whole jobs with a judge: the planner buys answers and the judge's word on them, and goes by it."""

from __future__ import annotations

import pytest

from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.bought_evidence import judge, verdicts

ROWS = 120
BUDGET = 500_000_000
# The small model answers with the row's last digit: even ones please the judge.
MODEL = {"echo": True, "price": {"input": "1", "output": "2"}}
GOOD = {"answers": [{"text": "42"}], "price": {"input": "2", "output": "4"}}


@pytest.fixture
def tiers(bench: Bench):
    def of(served):
        return [
            bench.tier(served, "small", max_output_tokens=64),
            bench.tier(served, "good", price={"input": "2", "output": "4"}, max_output_tokens=64),
            bench.tier(
                served,
                "large",
                price={"input": "10", "output": "20"},
                logprobs=True,
                max_output_tokens=64,
            ),
        ]

    return of


async def test_the_planner_buys_the_judges_word_and_asks_again_what_the_judge_rejects(
    bench: Bench, tiers
):
    async with provider(small=MODEL, good=GOOD, large=judge()) as served:
        listed = tiers(served)
        job = bench.submit(
            listed, ROWS, check="judge:large", policy="auto", budget_nanousd=BUDGET, chunk_rows=20
        )
        async with bench.worker(listed) as worker:
            await bench.finish(job, worker)
        bill = served.bill()

    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["labels"] == "judge"
    assert status["rows"]["answered"] == ROWS
    assert status["spent_nanousd"] == bill["total_nanousd"] <= status["budget_nanousd"]
    assert bench.audit(job).is_ok
    word = {(row, tier): passed for row, tier, _, passed, *_ in verdicts(bench, job)}
    answered = bench.one("SELECT count(*) FROM cascade.answers WHERE job = :j", j=job)
    assert len(word) > 0.8 * answered, "the judge hears about nearly every answer"
    chosen = [word.get((no, result.tier)) for no, result in enumerate(bench.results(job))]
    # Half of the small model's answers displease the judge; these are asked again elsewhere.
    assert sum(passed is False for passed in chosen) < 0.1 * ROWS
    assert {tier for _, tier in word} >= {"small", "good"}


@pytest.mark.parametrize("share", [0.0, 0.02])
async def test_where_the_money_covers_no_judge_every_row_is_answered_all_the_same(
    bench: Bench, tiers, share
):
    async with provider(small=MODEL, good=GOOD, large=judge()) as served:
        listed = tiers(served)
        job = bench.submit(
            listed, ROWS, check="judge:large", policy="auto", budget_nanousd=BUDGET, chunk_rows=20
        )
        least = bench.one(
            "SELECT ring_fence_nanousd FROM cascade_store.balance WHERE job_id = :j",
            j=bench.job_id(job),
        )
        tight = bench.submit(
            listed,
            ROWS,
            check="judge:large",
            policy="auto",
            chunk_rows=20,
            budget_nanousd=int(least + share * (BUDGET - least)),
        )
        async with bench.worker(listed) as worker:
            await bench.finish(tight, worker)

    status = bench.status(tight)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == ROWS
    assert status["spent_nanousd"] <= status["budget_nanousd"]
    assert bench.audit(tight).is_ok
