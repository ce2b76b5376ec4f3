"""The planner works while chunks are open: escalations flow while drafts still run, and no call is made
twice."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cascade_batch.engine import control
from cascade_batch.engine.due import next_planning
from cascade_batch.engine.sweep import sweep_once
from tests.integration.engine.bench import Bench, provider, until
from tests.integration.engine.scripted_planner import Script, buy, start_all

ROOMY = {"max_output_tokens": 64}
CHOOSY = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
DEAR = {**CHOOSY, "price": {"input": "10", "output": "20"}}


def two_tiers(bench: Bench, served, **more):
    price = {"input": "10", "output": "20"}
    return [
        bench.tier(served, "small", **ROOMY, **more),
        bench.tier(served, "large", **ROOMY, price=price),
    ]


async def test_escalations_are_answered_while_drafts_still_wait(bench: Bench):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, 80, chunk_rows=10, output={"choices": ["a", "b"]})
        bench.hold_back(job, 2)
        bench.rested(job)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            # The worker saw by itself that too little was left to do.
            assert set(worker.due) == {job}
            planned = bench.plan(job)
            assert planned.wave == 2
            assert planned.purchases > 0
            await worker.drive()
            status = bench.status(job)
            assert status["rows"]["answered"] == 60
            assert status["tiers"]["large"]["answers"] == planned.purchases
            assert status["tiers"]["large"]["escalated"] == planned.purchases
            await bench.finish(job, worker)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 80
    assert status["spent_nanousd"] == bill["total_nanousd"]
    # No tier was asked twice about a row.
    calls = [status["tiers"][name]["calls"] for name in ("small", "large")]
    assert calls == [80, bench.one("SELECT count(*) FROM cascade_store.answer"
                                   " WHERE job_id = :j AND tier_no = 1", j=bench.job_id(job))]  # fmt: skip
    assert bench.audit(job).differences == []


async def test_what_is_on_its_way_is_shown_and_its_cost_is_promised(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        script = Script(start_all(), buy([(n, 1) for n in range(4)], expected_nanousd=5000))
        job = bench.submit(tiers, 20, chunk_rows=5, planner=script)
        bench.hold_back(job, 1)
        async with bench.worker(["small"]) as worker:
            await worker.drive()
            bench.rested(job)
            assert bench.plan(job, script).purchases == 4
            bench.execute("UPDATE cascade_store.job SET plan_below = 9 WHERE name = :j", j=job)
            bench.rested(job)
            assert bench.plan(job, script) is None
    first, second, third = script.views
    assert not first.in_flight.any()
    assert first.fence_nanousd.tolist() == first.worst_nanousd.min(axis=1).tolist()
    on_its_way = np.zeros((20, 2), dtype=bool)
    on_its_way[15:, 0] = True
    assert second.held[:, 0].tolist() == (~on_its_way[:, 0]).tolist()
    assert np.array_equal(second.in_flight, on_its_way)
    assert second.fence_nanousd[:15].sum() == 0
    on_its_way[:4, 1] = True
    assert np.array_equal(third.in_flight, on_its_way)
    # Nothing happened in between but that four escalations were promised.
    assert third.free_nanousd == second.free_nanousd - 4 * 5000
    balance = bench.status(job)
    spent = balance["spent_nanousd"]
    fenced = second.fence_nanousd.sum()
    assert balance["ring_fence_nanousd"] == fenced
    assert second.free_nanousd == balance["budget_nanousd"] - spent - fenced


async def test_rows_on_their_way_are_not_bought_again(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        # Rows 15 to 19 wait for their first answer; a planner that overlooks it must not break the fence.
        script = Script(start_all(), buy([(15, 1), (16, 0), (2, 0), (3, 1), (4, 1)]))
        job = bench.submit(tiers, 20, chunk_rows=5, planner=script)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.rested(job)
            assert bench.plan(job, script).purchases == 2
            await bench.finish(job, worker, script)
    status = bench.status(job)
    assert (status["tiers"]["small"]["calls"], status["tiers"]["large"]["calls"]) == (20, 2)
    assert status["rows"]["answered"] == 20
    assert bench.audit(job).is_ok


async def test_a_job_of_which_much_is_open_is_left_alone(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, 40, chunk_rows=5)
        bench.hold_back(job, 3)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert worker.due == []
            bench.rested(job)
            assert bench.plan(job) is None
            sweep_once(bench.engine, bench.messages)
            assert job not in bench.messages.plans
            # So little is open only when one more is done: then all who look see it.
            bench.execute(
                "UPDATE cascade_store.chunk SET not_before = NULL WHERE job_id = :j"
                " AND row_from = 25", j=bench.job_id(job),
            )  # fmt: skip
            await worker.drive()
            bench.rested(job)
            sweep_once(bench.engine, bench.messages)
            assert job in bench.messages.plans
            assert bench.plan(job) is not None


async def test_the_planner_rests_while_there_is_work_and_not_a_moment_when_there_is_none(
    bench: Bench,
):
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, 20, chunk_rows=10)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.execute(
                "UPDATE cascade_store.job SET plan_not_before = now() + interval '1 h' WHERE name = :j",
                j=job,
            )
            assert bench.plan(job) is None
            bench.execute("UPDATE cascade_store.chunk SET not_before = NULL")
            await worker.drive()
            assert job in worker.due
            assert bench.plan(job) is not None


@pytest.mark.parametrize(("open_chunks", "below"), [(0, 1), (1, 1), (2, 2), (8, 3), (400, 101)])
def test_a_quarter_of_the_chunks_is_left_to_do_when_the_next_wave_is_planned(open_chunks, below):
    assert next_planning(open_chunks, 1.0, None).below == below
    # What lasts for much longer than planning takes is no reason to plan earlier.
    assert next_planning(open_chunks, 1.0, 1e4).below == below


@pytest.mark.parametrize(
    ("work_s", "rest_s", "below"),
    [
        (None, 63.0, 101),
        # Work for a short while: planned at its end, with nobody at work.
        (13.9, 63.0, 101),
        # Work for a while: the next wave is there when it ends.
        (14.0, 3.5, 301),
        (30.0, 19.5, 141),
        # Work for long: planning takes a tenth of the time.
        (1000.0, 63.0, 101),
    ],
)
def test_a_planning_that_takes_long_begins_while_there_is_work_for_as_long(work_s, rest_s, below):
    found = next_planning(400, 7.0, work_s)
    assert (found.rest_s, found.below) == (pytest.approx(rest_s), below)


def test_there_is_always_something_new_to_know():
    for open_chunks in range(2, 50):
        for work_s in (2.0, 2.5, 10.0, 1e6):
            assert 1 < next_planning(open_chunks, 1.0, work_s).below <= open_chunks


async def test_an_empty_wave_waits_for_what_is_on_its_way_and_does_not_finish(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        script = Script(start_all())
        job = bench.submit(tiers, 20, chunk_rows=5, planner=script)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.rested(job)
            assert bench.plan(job, script) is None
            assert bench.status(job)["status"] == "running"
            await bench.finish(job, worker, script)
    assert bench.status(job)["rows"]["answered"] == 20
    assert len(bench.results(job)) == 20


async def test_planning_again_and_again_in_the_middle_of_work_changes_no_outcome(bench: Bench):
    """Planners at every moment, two at a time; every row once per tier, to the last nano-dollar."""
    async with provider(small=CHOOSY | {"latency_ms": 2}, large=DEAR) as served:
        tiers = two_tiers(bench, served, limits={"concurrency": 8})
        job = bench.submit(
            tiers, 300, chunk_rows=6, budget_nanousd=700_000_000, output={"choices": ["a", "b"]}
        )
        bench.execute("UPDATE cascade_store.job SET plan_below = 1000 WHERE name = :j", j=job)

        async def plan_always() -> None:
            while bench.state(job) in ("queued", "running"):
                bench.execute(
                    "UPDATE cascade_store.job SET plan_below = 1000, plan_not_before = NULL"
                    " WHERE name = :j", j=job,
                )  # fmt: skip
                await asyncio.to_thread(bench.plan, job)

        async with bench.worker(tiers) as one, bench.worker(tiers) as two:
            planners = [asyncio.create_task(plan_always()) for _ in range(2)]
            while bench.state(job) in ("queued", "running"):
                await asyncio.gather(one.drive(), two.drive())
                await asyncio.sleep(0)
            await asyncio.gather(*planners)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 300
    assert bill["duplicates"] == 0
    assert status["spent_nanousd"] == bill["total_nanousd"] <= 700_000_000
    assert status["waves"] > 2
    assert bench.audit(job).differences == []


async def test_a_pause_keeps_the_planner_away_even_with_little_to_do(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 20, chunk_rows=5)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] > 0)
            await asyncio.to_thread(control.pause_job, bench.engine, job)
            await drive
        assert bench.plan(job) is None
    assert bench.state(job) == "paused"


async def test_rows_that_a_planner_forgets_are_answered_all_the_same(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        script = Script(buy([(0, 1), (1, 0)]))
        job = bench.submit(tiers, 20, chunk_rows=5, planner=script)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
    status = bench.status(job)
    assert status["rows"]["answered"] == 20
    assert (status["tiers"]["small"]["calls"], status["tiers"]["large"]["calls"]) == (19, 1)
    assert bench.audit(job).is_ok


async def test_first_answers_that_were_too_dear_are_bought_where_their_money_is_fenced(
    bench: Bench,
):
    """Everything that is free goes away between plan and work; a planner that asks for the same again and
    again neither goes on for ever nor leaves a row without an answer."""
    dear = buy([(row, 1) for row in range(10)])
    async with provider(small=True, large=True) as served:
        tiers = two_tiers(bench, served)
        script = Script(*[dear] * 50)
        job = bench.submit(tiers, 10, planner=script)
        bench.execute(
            "UPDATE cascade_store.balance SET budget_nanousd = ring_fence_nanousd WHERE job_id = :j",
            j=bench.job_id(job),
        )
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
    status = bench.status(job)
    assert status["rows"]["answered"] == 10
    assert status["tiers"]["small"]["calls"] >= 1
    # (But for the budget, which this test cut.)
    (difference,) = bench.audit(job).differences
    assert difference.startswith("budget against the entries")
