"""Jobs from submission to results: every row answered, and the ledger equals the provider's bill."""

from __future__ import annotations

import pytest

from cascade_batch.engine import submit
from tests.integration.engine.bench import Bench, provider

CHOICES = ["up", "down", "none"]


def simulated(accuracy: float, **more):
    return {
        "simulate": {"choices": CHOICES, "accuracy": accuracy, "gold": "#(up|down|none)"},
        **more,
    }


def labelled(rows: int) -> list[dict[str, str]]:
    return [{"text": f"row {n} #{CHOICES[n % 3]}", "label": CHOICES[n % 3]} for n in range(rows)]


async def test_one_tier_answers_every_row_in_order_for_what_was_billed(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        job = bench.submit(tiers, 250, chunk_rows=40)
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"] == {
        "total": 250, "answered": 250, "failed": 0, "pending": 0, "unfunded": 0
    }  # fmt: skip
    assert [r.answer for r in bench.results(job)] == [f"row {n}" for n in range(250)]
    assert status["spent_nanousd"] == bill["total_nanousd"] > 0
    assert bill["duplicates"] == 0
    assert status["reserved_nanousd"] == status["at_risk_nanousd"] == 0
    assert bench.audit(job).differences == []


@pytest.mark.parametrize("policy", ["auto", "confidence"])
async def test_three_tiers_spend_the_rest_of_the_budget_on_better_answers(
    bench: Bench, policy: str
):
    prices = {"small": "0.1", "middle": "1", "large": "10"}
    models = {
        name: simulated(accuracy, price={"input": prices[name], "output": prices[name]})
        for name, accuracy in (("small", 0.5), ("middle", 0.7), ("large", 0.95))
    }
    async with provider(**models) as served:
        tiers = [
            bench.tier(served, name, price={"input": price, "output": price}, logprobs=True)
            for name, price in prices.items()
        ]
        job = bench.submit(
            tiers, labelled(120), chunk_rows=25, budget_nanousd=60_000_000,
            output={"choices": CHOICES}, gold="label", policy=policy,
        )  # fmt: skip
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 120
    assert status["spent_nanousd"] == bill["total_nanousd"] <= 60_000_000
    assert bench.audit(job).differences == []
    results = bench.results(job)
    assert [r.row_no for r in results] == list(range(120))
    right = sum(r.value == f'"{CHOICES[r.row_no % 3]}"' for r in results)
    assert right > 0.6 * 120
    assert {r.tier for r in results} > {"small"}
    # What was planned and could not be afforded is no escalation.
    further = sum(tier["answers"] for tier in status["tiers"].values()) - 120
    assert sum(tier["escalated"] for tier in status["tiers"].values()) == further
    for name, tier in status["tiers"].items():
        assert tier["calls"] == bill["models"][name]["calls"]
        assert round(tier["spent_usd"] * 10**9) == bill["models"][name]["nanousd"]


@pytest.mark.parametrize("policy", ["auto", "cheapest", "dearest", "random", "confidence", "every"])
async def test_every_policy_answers_every_row_within_the_budget(bench: Bench, policy: str):
    models = {"small": simulated(0.5), "large": simulated(0.9)}
    async with provider(**models) as served:
        tiers = [
            bench.tier(served, "small"),
            bench.tier(served, "large", price={"input": "10", "output": "20"}),
        ]
        budget = 40_000_000
        job = bench.submit(
            tiers, labelled(40), budget_nanousd=budget, policy=policy, chunk_rows=7,
            output={"choices": CHOICES},
        )  # fmt: skip
        await bench.run(job, tiers)
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 40
    assert status["spent_nanousd"] <= budget
    assert bench.audit(job).differences == []


async def test_a_job_of_one_row(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, 1)
        await bench.run(job, tiers)
    assert [r.answer for r in bench.results(job)] == ["row 0"]
    assert bench.state(job) == "finished"


async def test_sixteen_tiers(bench: Bench):
    prices = {f"t{n}": {"input": 1 + n, "output": 1 + n} for n in range(16)}
    models = {name: simulated(0.3, price=price) for name, price in prices.items()}
    async with provider(**models) as served:
        tiers = [bench.tier(served, name, price=price) for name, price in prices.items()]
        job = bench.submit(
            tiers, labelled(12), output={"choices": CHOICES}, gold="label", chunk_rows=5
        )
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 12
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert bench.audit(job).differences == []


async def test_tiers_that_cost_nothing_need_no_budget(bench: Bench):
    free = {"price": {"input": "0", "output": "0"}}
    async with provider(small=simulated(0.4) | free, large=simulated(0.9) | free) as served:
        tiers = [bench.tier(served, name, **free) for name in ("small", "large")]
        job = bench.submit(
            tiers, labelled(30), budget_nanousd=0, output={"choices": CHOICES}, gold="label"
        )
        await bench.run(job, tiers)
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 30
    assert status["spent_nanousd"] == 0
    assert status["tiers"]["large"]["escalated"] > 0
    assert bench.audit(job).differences == []


async def test_the_first_wave_of_a_large_job_is_left_to_the_planner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(submit, "PLAN_AT_ONCE_ROWS", 20)
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        bench.submit(tiers, 20, name="small enough")
        bench.submit(tiers, 21, name="large")
        waves = {job: bench.status(job)["waves"] for job in ("small enough", "large")}
        assert waves == {"small enough": 1, "large": 0}
        # Enough is fenced off from the start, whoever plans.
        fence = "SELECT ring_fence_nanousd FROM cascade_store.balance WHERE job_id = :job"
        fences = [bench.one(fence, job=bench.job_id(job)) for job in waves]
        assert 0 < fences[0] < fences[1]
        await bench.run("large", tiers)
    assert bench.status("large")["rows"]["answered"] == 21
    assert bench.audit("large").is_ok


async def test_two_jobs_share_a_tier_and_keep_their_accounts_apart(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        first = bench.submit(tiers, 60, chunk_rows=10)
        second = bench.submit(tiers, [{"text": f"other {n}"} for n in range(60)], chunk_rows=10)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert set(worker.due) == {first, second}
            await bench.finish(first, worker)
            await bench.finish(second, worker)
        bill = served.bill()
    spent = [bench.status(job)["spent_nanousd"] for job in (first, second)]
    assert sum(spent) == bill["total_nanousd"]
    assert [r.answer for r in bench.results(second)] == [f"other {n}" for n in range(60)]
    assert bench.audit(first).is_ok
    assert bench.audit(second).is_ok


async def test_the_worker_that_claims_gets_chunks_of_every_job_in_turn(bench: Bench):
    async with provider(small={"echo": True, "limits": {"concurrency": 64}}) as served:
        tiers = [bench.tier(served, "small", limits={"concurrency": 4})]
        large = bench.submit(tiers, 400, chunk_rows=10)
        small = bench.submit(tiers, [{"text": f"late {n}"} for n in range(20)], chunk_rows=10)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        order = [
            job
            for (job,) in bench.all(
                "SELECT j.name FROM cascade_store.answer a JOIN cascade_store.job j USING (job_id)"
                " WHERE j.name IN (:large, :small) ORDER BY a.answered_at, a.chunk_id",
                large=large, small=small,
            )
        ]  # fmt: skip
    # The small job came last and did not wait for the large one's forty chunks.
    assert max(n for n, job in enumerate(order) if job == small) < 200


async def test_long_rows_and_answers_come_back_whole_and_are_not_packed_the_slow_way(bench: Bench):
    long = "".join(chr(97 + n * n % 25) for n in range(20_000))
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=30_000)]
        job = bench.submit(tiers, [{"text": long}, {"text": "short"}], budget_nanousd=10**15)
        await bench.run(job, tiers)
    assert [r.answer for r in bench.results(job)] == [long, "short"]
    packed = bench.all(
        "SELECT pg_column_compression(r.input), pg_column_compression(a.text)"
        "  FROM cascade_store.row r JOIN cascade_store.answer a USING (job_id, row_no)"
        " WHERE r.job_id = :job",
        job=bench.job_id(job),
    )
    assert {how for row in packed for how in row} <= {None, "lz4"}


async def test_answers_that_no_tier_could_make_fit_are_counted_at_the_end(bench: Bench):
    models = {name: {"answers": [{"text": "maybe"}]} for name in ("small", "large")}
    async with provider(**models) as served:
        tiers = [bench.tier(served, name) for name in models]
        rows = [{"text": "one"}, {"text": "two"}, {"text": "one"}]
        job = bench.submit(tiers, rows, output={"choices": CHOICES}, cache=True, policy="auto")
        fits = bench.submit(tiers, rows, output={"choices": ["maybe", "no"]})
        assert bench.status(job)["rows_unfit"] == 0
        await bench.run(job, tiers)
        await bench.run(fits, tiers)
    status = bench.status(job)
    assert status["rows"]["answered"] == 3
    assert status["rows_unfit"] == 3
    assert bench.status(fits)["rows_unfit"] == 0
