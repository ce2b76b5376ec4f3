"""Tiers that may be asked twice: the planner buys second samples, and goes by them."""

from __future__ import annotations

from tests.integration.engine.bench import Bench, provider

ROWS = 150
BUDGET = 100_000_000


async def test_second_samples_are_bought_where_a_tier_allows_them(bench: Bench):
    dear = {"price": {"input": "200", "output": "400"}, "answers": [{"text": "42"}]}
    async with provider(small=True, large=dear) as served:
        tiers = [
            bench.tier(served, "small", max_output_tokens=64, self_consistency=True),
            bench.tier(served, "large", price={"input": "200", "output": "400"}),
        ]
        plain = [tiers[0].model_copy(update={"self_consistency": False}), tiers[1]]
        bought = {}
        for listed in (tiers, plain):
            job = bench.submit(
                listed,
                ROWS,
                policy="auto",
                check="regex:[02468]$",
                budget_nanousd=BUDGET,
                chunk_rows=25,
            )
            async with bench.worker(listed) as worker:
                await bench.finish(job, worker)
            status = bench.status(job)
            assert (status["status"], status["rows"]["answered"]) == ("finished", ROWS)
            assert bench.audit(job).is_ok
            bought[listed[0].self_consistency] = bench.one(
                "SELECT count(*) FROM cascade.decisions WHERE job = :job AND action = 'sample'",
                job=job,
            )
    assert bought[True] > 0
    assert bought[False] == 0
