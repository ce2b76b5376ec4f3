"""What other budgets would bring: drawn for a job in any state, and kept with a job that finishes."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from cascade_batch.engine import control, plan
from cascade_batch.engine.frontier import job_frontier
from cascade_batch.engine.planner import PLANNER
from cascade_batch.errors import JobNotFoundError
from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.bought_evidence import judge, release
from tests.integration.engine.scripted_planner import Script, start_all

CHOICES = ["up", "down", "none"]
OUTPUT = {"choices": CHOICES}
DEAR = {"input": "10", "output": "20"}


def simulated(accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "simulate": {"choices": CHOICES, "accuracy": accuracy, "gold": "#(up|down|none)"},
        **more,
    }


MODELS = {"small": simulated(0.5), "large": simulated(0.95, price=DEAR)}


def labelled(rows: int) -> list[dict[str, str]]:
    return [{"text": f"row {n} #{CHOICES[n % 3]}", "label": CHOICES[n % 3]} for n in range(rows)]


def two_tiers(bench: Bench, served: Any) -> list[Any]:
    return [bench.tier(served, "small"), bench.tier(served, "large", price=DEAR)]


def assert_sound(frontier: dict[str, Any], status: dict[str, Any]) -> None:
    """What holds for every frontier."""
    points = frontier["points"]
    budgets = [point["budget_usd"] for point in points]
    assert budgets == sorted(set(budgets))
    assert frontier["budget_usd"] == status["budget_usd"] in budgets
    assert frontier["spent_usd"] == status["spent_usd"]
    assert frontier["rows"] == status["rows"]["total"]
    for point in points:
        assert 0 <= point["low"] <= point["quality"] <= point["high"] <= 1
    qualities = [point["quality"] for point in points]
    assert qualities == sorted(qualities)
    here = qualities[budgets.index(status["budget_usd"])]
    assert 0 <= frontier["next_usd_gain"] <= (qualities[-1] - here) * frontier["rows"]
    assert math.isfinite(frontier["next_usd_gain"])


async def test_a_finished_job_tells_what_other_budgets_would_bring(bench: Bench):
    async with provider(**MODELS) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(
            tiers, labelled(120), budget_nanousd=20_000_000, policy="auto",
            gold="label", gold_use="train", output=OUTPUT,
        )  # fmt: skip
        assert bench.status(job)["frontier"] is None
        await bench.run(job, tiers)
    status = bench.status(job)
    stored = status["frontier"]
    assert_sound(stored, status)
    assert (stored["labels"], stored["measured"], stored["policy"]) == ("gold", True, "auto")
    points = stored["points"]
    assert points[-1]["quality"] > points[0]["quality"] + 0.1
    # Drawn anew, it is the same: nothing has happened since.
    anew = job_frontier(bench.engine, job)
    assert anew.pop("job") == job
    for one, other in zip(anew.pop("points"), stored["points"], strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert anew.pop("next_usd_gain") == pytest.approx(stored["next_usd_gain"], rel=1e-2)
    assert anew.items() <= stored.items()


async def test_a_job_without_labels_is_not_measured(bench: Bench):
    async with provider(**MODELS) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(
            tiers, 80, budget_nanousd=20_000_000, policy="auto", output={"choices": CHOICES}
        )
        await bench.run(job, tiers)
    status = bench.status(job)
    assert (status["frontier"]["labels"], status["frontier"]["measured"]) == ("agreement", False)
    assert_sound(status["frontier"], status)
    assert status["quality"] is None


def test_a_job_nobody_worked_on_has_a_frontier_without_support(bench: Bench):
    tiers = [
        bench.tier(None, "small", base_url="http://127.0.0.1:1"),
        bench.tier(None, "large", base_url="http://127.0.0.1:1", price=DEAR),
    ]
    job = bench.submit(tiers, labelled(30), policy="auto", gold="label", output=OUTPUT)
    before = bench.status(job)

    frontier = job_frontier(bench.engine, job)

    assert before["status"] == "queued"
    assert_sound(frontier, before)
    assert not frontier["measured"]
    assert not any(point["supported"] for point in frontier["points"])
    assert bench.status(job) == before


async def test_it_is_drawn_in_every_state_and_waits_for_nobody(bench: Bench):
    async with provider(**MODELS) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(
            tiers, labelled(60), chunk_rows=10, gold="label", output=OUTPUT,
            policy="confidence", budget_nanousd=10_000_000,
        )  # fmt: skip
        bench.hold_back(job, 3)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        status = bench.status(job)
        assert (status["status"], status["rows"]["answered"]) == ("running", 30)
        job_id = bench.job_id(job)
        # A planner at work has its lock, and at the end of it also the job and its account, for itself.
        with bench.engine.connect() as other, plan._lock(other, job_id) as got, other.begin():
            assert got
            for table in ("job", "balance"):
                query = f"SELECT 1 FROM cascade_store.{table} WHERE job_id = :job FOR UPDATE"
                other.execute(sa.text(query), {"job": job_id})
            running = job_frontier(bench.engine, job)
        assert_sound(running, status)
        control.pause_job(bench.engine, job)
        paused = job_frontier(bench.engine, job)
        assert_sound(paused, status)
        assert paused["points"][0]["quality"] == pytest.approx(running["points"][0]["quality"])
        control.cancel_job(bench.engine, job)
        assert_sound(job_frontier(bench.engine, job), status)
    with pytest.raises(JobNotFoundError):
        job_frontier(bench.engine, "nobody's")


class Broken:
    """The real planner, whose frontier is not to be had."""

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises

    def plan_wave(self, view, policy, *, seed, wave):
        return PLANNER.plan_wave(view, policy, seed=seed, wave=wave)

    def choose_answers(self, view):
        return PLANNER.choose_answers(view)

    def draw_frontier(self, view, *, budget_nanousd, seed):
        if self.raises:
            raise ZeroDivisionError("no frontier today")
        frontier = PLANNER.draw_frontier(view, budget_nanousd=budget_nanousd, seed=seed)
        return replace(frontier, quality=frontier.quality * math.nan)


@pytest.mark.parametrize("raises", [True, False])
async def test_a_frontier_that_can_not_be_drawn_lets_the_job_finish(
    bench: Bench, caplog: pytest.LogCaptureFixture, raises: bool
):
    planner = Broken(raises=raises)
    async with provider(**MODELS) as served:
        tiers = two_tiers(bench, served)
        job = bench.submit(tiers, labelled(20), gold="label", output=OUTPUT, planner=planner)
        with caplog.at_level(logging.ERROR):
            async with bench.worker(tiers) as worker:
                await bench.finish(job, worker, planner)
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 20
    assert status["frontier"] is None
    assert job in caplog.text
    # Not null as JSON says it: SQL's.
    assert bench.one("SELECT frontier IS NULL FROM cascade_store.job WHERE name = :j", j=job)


async def test_money_that_bought_no_answer_is_gone_at_every_budget(bench: Bench):
    async with provider(
        small=True, large=judge(), faults=[{"kind": "reset", "match": "row 3$", "first": 1}]
    ) as served:
        tiers = two_tiers(bench, served)
        script = Script(start_all())
        job = bench.submit(
            tiers, 12, check="judge:large", planner=script, budget_nanousd=50_000_000
        )
        async with bench.worker(tiers) as worker:
            await worker.drive()
            await bench.finish(job, worker, script)
            control.raise_budget(bench.engine, job, 1, bench.messages, actor=None)
            release(bench, job, 1, list(range(12)), judged_tier_no=0)
            await worker.drive()
    status = bench.status(job)
    frontier = job_frontier(bench.engine, job)
    answers = bench.one(
        "SELECT sum(cost_nanousd)::bigint FROM cascade_store.answer WHERE job_id = :j",
        j=bench.job_id(job),
    )
    gone = status["spent_nanousd"] + status["at_risk_nanousd"] - answers
    assert status["at_risk_nanousd"] > 0
    assert status["tiers"]["large"]["calls"] == 12
    assert_sound(frontier, status)
    assert frontier["points"][0]["budget_usd"] * 10**9 > gone


async def test_more_money_goes_on_along_the_frontier(bench: Bench):
    dearest = {"input": "100", "output": "200"}
    models = {"small": simulated(0.5), "large": simulated(0.95, price=dearest)}
    async with provider(**models) as served:
        tiers = [bench.tier(served, "small"), bench.tier(served, "large", price=dearest)]
        job = bench.submit(
            tiers, labelled(100), budget_nanousd=17_000_000, policy="auto", gold="label",
            output=OUTPUT,
        )  # fmt: skip
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            before = bench.status(job)
            control.raise_budget(bench.engine, job, 30_000_000, bench.messages, actor=None)
            assert bench.status(job)["frontier"] == before["frontier"]
            await bench.finish(job, worker)
    after = bench.status(job)
    assert before["frontier"]["budget_usd"] == 0.017
    assert_sound(after["frontier"], after)
    assert after["frontier"]["budget_usd"] == 0.047
    assert after["quality"] > before["quality"]
    # Nearly all that money can buy is bought.
    assert after["frontier"]["next_usd_gain"] < before["frontier"]["next_usd_gain"]


async def test_one_tier_leaves_nothing_to_gain(bench: Bench):
    async with provider(small=simulated(0.5)) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, labelled(15), gold="label", output=OUTPUT)
        await bench.run(job, tiers)
    status = bench.status(job)
    assert_sound(status["frontier"], status)
    assert status["frontier"]["next_usd_gain"] == 0


async def test_tiers_that_cost_nothing_have_a_frontier(bench: Bench):
    free = {"price": {"input": "0", "output": "0"}}
    async with provider(small=simulated(0.4) | free, large=simulated(0.9) | free) as served:
        tiers = [bench.tier(served, name, **free) for name in ("small", "large")]
        job = bench.submit(
            tiers, labelled(30), budget_nanousd=0, gold="label", output=OUTPUT, policy="auto"
        )
        await bench.run(job, tiers)
    status = bench.status(job)
    assert status["frontier"]["points"]
    assert_sound(status["frontier"], status)


async def test_a_job_whose_rows_all_failed_has_a_frontier(bench: Bench):
    async with provider(small=True, faults=[{"kind": "bad_request", "match": "row"}]) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, 5)
        await bench.run(job, tiers)
    status = bench.status(job)
    assert (status["status"], status["rows"]["failed"]) == ("finished", 5)
    assert_sound(status["frontier"], status)
    assert status["frontier"]["points"][-1]["quality"] == 0
