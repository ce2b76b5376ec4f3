"""Where a job stops for want of money, what is left of it and why, and how more money takes it up again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cascade_batch.client.progress import rest_text
from cascade_batch.engine import control
from cascade_batch.engine.deciding import NO_GAIN, NONE_FITS, NOT_CARRIED
from cascade_batch.errors import UsageError
from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.scripted_planner import Script, buy, start_all

ROOMY = {"max_output_tokens": 64}


def two_tiers(bench: Bench, served):
    price = {"input": "100", "output": "200"}
    return [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY, price=price)]


def worst_sum(bench: Bench, job: str, tier_no: int) -> int:
    return bench.one(
        "SELECT sum(worst_nanousd[:n])::bigint FROM cascade_store.row WHERE job_id = :job",
        n=tier_no + 1, job=bench.job_id(job),
    )  # fmt: skip


CHOOSY = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
DEAR = {**CHOOSY, "price": {"input": "100", "output": "200"}}


async def test_more_money_goes_on_where_a_finished_job_stopped(bench: Bench):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        probe = bench.submit(tiers, 20, policy="cheapest")
        budget = worst_sum(bench, probe, 0)
        job = bench.submit(tiers, 20, budget_nanousd=budget, output={"choices": ["a", "b"]})
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            before = bench.status(job)
            assert before["status"] == "finished"
            assert before["spent_nanousd"] <= budget
            balance = control.raise_budget(
                bench.engine, job, worst_sum(bench, probe, 1), bench.messages, actor="me"
            )
            assert balance.budget_nanousd == budget + worst_sum(bench, probe, 1)
            assert bench.state(job) == "running"
            await bench.finish(job, worker)
    after = bench.status(job)
    assert after["status"] == "finished"
    assert after["tiers"]["large"]["escalated"] > before["tiers"]["large"]["escalated"]
    assert bench.audit(job).is_ok
    entries = bench.all(
        "SELECT reason, actor FROM cascade_store.entry WHERE job_id = :job AND kind = 'budget'"
        " ORDER BY entry_id",
        job=bench.job_id(job),
    )
    assert entries == [("submitted", None), ("added", "me")]
    with pytest.raises(UsageError, match="positive"):
        control.raise_budget(bench.engine, job, 0, bench.messages, actor=None)


async def test_money_added_after_a_wave_that_could_afford_nothing_is_used(bench: Bench):
    """A wave that ended without a call makes the planner finish; not if there is new money since."""
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, 10, output={"choices": ["a", "b"]})
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert bench.plan(job).purchases > 0
            # All is gone between plan and work: the wave ends without a call.
            spent = bench.status(job)["spent_nanousd"]
            bench.execute(
                "UPDATE cascade_store.balance SET budget_nanousd = :spent WHERE job_id = :job",
                spent=spent, job=bench.job_id(job),
            )  # fmt: skip
            calls = served.bill()["calls_total"]
            await worker.drive()
            assert served.bill()["calls_total"] == calls
            control.raise_budget(bench.engine, job, 10**9, bench.messages, actor=None)
            await bench.finish(job, worker)
            assert served.bill()["models"]["large"]["calls"] > 0
    assert bench.state(job) == "finished"


async def test_a_wave_that_can_afford_nothing_ends_the_job(bench: Bench):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, 10, output={"choices": ["a", "b"]})
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert bench.plan(job).purchases > 0
            bench.execute(
                "UPDATE cascade_store.balance SET budget_nanousd = spent_nanousd"
                " WHERE job_id = :job",
                job=bench.job_id(job),
            )
            await bench.finish(job, worker)
    assert bench.state(job) == "finished"
    assert bench.status(job)["rows"]["answered"] == 10


def left(bench: Bench, job: str) -> str | None:
    status = bench.status(job)
    assert status["status"] == "finished"
    return rest_text(status)


async def test_a_job_with_one_tier_says_that_money_is_left_as_all_rows_were_asked(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 5)
        await bench.run(job, tiers)
    said = left(bench, job)
    assert said.endswith(" is left: every row has been asked on every tier")


async def test_a_job_that_no_further_worst_case_fits_into_says_so(bench: Bench):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        probe = bench.submit(tiers, 20, policy="cheapest")
        budget = worst_sum(bench, probe, 0)
        job = bench.submit(tiers, 20, budget_nanousd=budget, output={"choices": ["a", "b"]})
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
    free = bench.status(job)["budget_nanousd"] - bench.status(job)["spent_nanousd"]
    dear = bench.one(
        "SELECT min(worst_nanousd[2]) FROM cascade_store.row WHERE job_id = :job",
        job=bench.job_id(job),
    )
    fits = free >= dear
    assert (left(bench, job)).endswith(NONE_FITS) is not fits


@pytest.mark.parametrize(("is_short", "words"), [(False, NO_GAIN), (True, NOT_CARRIED)])
async def test_what_the_planner_wants_no_more_is_told_as_the_planner_knows_it(
    bench: Bench, is_short: bool, words: str
):
    async with provider(small=True, large=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
        script = Script(start_all(), lambda view: replace(buy([])(view), is_short=is_short))
        job = bench.submit(tiers, 10, policy="auto", planner=script)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
    assert left(bench, job).endswith(f" is left: {words}")


async def test_a_job_whose_answers_were_all_there_does_not_say_that_money_lacked(bench: Bench):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        asked = {"policy": "cheapest", "cache": True, "output": {"choices": ["a", "b"]}}
        async with bench.worker(tiers) as worker:
            for calls in (5, 0):
                job = bench.submit(tiers, 5, **asked)
                await bench.finish(job, worker)
                assert sum(tier["calls"] for tier in bench.status(job)["tiers"].values()) == calls
                assert "the policy 'cheapest' asks for nothing more" in str(left(bench, job))
