"""Why a row was asked: readable in SQL, with the numbers that the planner had; and the same again, if all is
the same again."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from cascade_batch.engine import control
from cascade_batch.engine.planner import PLANNER
from cascade_batch.policy.view import Action, Reason
from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.scripted_planner import Script, buy, kept, same, start_all

ROOMY = {"max_output_tokens": 64}
CHOOSY = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
DEAR = {**CHOOSY, "price": {"input": "10", "output": "20"}}


def decisions(bench: Bench, job: str) -> list[tuple]:
    return bench.all(
        "SELECT row_no, custom_id, tier, action, reason, wave, expected_gain, expected_cost_usd,"
        " price_of_money_per_usd, draw_probability FROM cascade.decisions WHERE job = :job"
        " ORDER BY wave, row_no, tier",
        job=job,
    )


async def test_why_a_row_went_up_can_be_read_in_sql(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
        why = {"reason": Reason.ESCALATE, "gain": 0.25, "price_of_money": 8.5}
        why["expected_nanousd"] = 3_000_000
        script = Script(
            start_all(),
            buy([(2, 1)], reason=Reason.PROBE, draw_probability=0.125, price_of_money=4.0),
            buy([(1, 1), (0, 1)], **why),
        )
        job = bench.submit(tiers, 3, planner=script, seed=7)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
    assert decisions(bench, job) == [
        *((n, str(n), "small", "answer", "start", 1, 0.5, Decimal("0.000001"), 2.0, 1.0)
          for n in range(3)),
        (2, "2", "large", "answer", "probe", 2, 0.5, Decimal("0.000001"), 4.0, 0.125),
        (0, "0", "large", "answer", "escalate", 3, 0.25, Decimal("0.003"), 8.5, 1.0),
        (1, "1", "large", "answer", "escalate", 3, 0.25, Decimal("0.003"), 8.5, 1.0),
    ]  # fmt: skip
    waves = bench.all(
        "SELECT wave, purchases, price_of_money_per_usd, basis, extra, free_usd FROM cascade.waves"
        " WHERE job = :job ORDER BY wave",
        job=job,
    )
    assert [wave[:4] for wave in waves] == [
        (1, 3, 2.0, "agreement"), (2, 1, 4.0, "agreement"), (3, 2, 8.5, "agreement")
    ]  # fmt: skip
    assert waves[0][4] == {"seed": 7, "rows_in_flight": 0}
    assert [int(free * 10**9) for *_, free in waves] == [v.free_nanousd for v in script.views[:3]]
    assert bench.status(job)["waves"] == 3
    assert bench.status(job)["labels"] == "agreement"


async def test_a_purchase_that_could_not_be_afforded_is_told_of_by_its_last_wave(bench: Bench):
    async with provider(small=True, large=DEAR) as served:
        price = {"input": "10", "output": "20"}
        tiers = [
            bench.tier(served, "small", **ROOMY),
            bench.tier(served, "large", **ROOMY, price=price),
        ]
        script = Script(start_all(), buy([(0, 1)]), buy([(0, 1), (1, 1)], gain=0.125))
        job = bench.submit(tiers, 3, planner=script)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert bench.plan(job, script).wave == 2
            bench.execute(
                "UPDATE cascade_store.balance SET budget_nanousd = spent_nanousd WHERE job_id = :j",
                j=bench.job_id(job),
            )
            await worker.drive()
            control.raise_budget(bench.engine, job, 10**9, bench.messages, actor=None)
            assert bench.plan(job, script).wave == 3
            await bench.finish(job, worker, script)
    told = [(row, wave, gain) for row, _, tier, _, _, wave, gain, *_ in decisions(bench, job)
            if tier == "large"]  # fmt: skip
    assert told == [(0, 3, 0.125), (1, 3, 0.125)]


async def test_second_samples_and_verdicts_are_bought_once_and_told_of(bench: Bench):
    sure = {"answers": [{"match": "ANSWER", "text": "yes"}, {"text": "sure"}]}
    async with provider(small=True, large=sure) as served:
        tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
        rows = [(0, 0), (1, 0)]
        script = Script(
            start_all(),
            buy(rows, action=Action.SAMPLE, reason=Reason.ESCALATE),
            buy(rows, action=Action.JUDGE, reason=Reason.ESCALATE),
            # A planner that forgets what it bought, and that buys what can't be had.
            buy([*rows, (2, 1)], action=Action.JUDGE),
            buy(rows, action=Action.SAMPLE),
        )
        job = bench.submit(tiers, 3, planner=script, check="judge:large")
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
        bill = served.bill()
    assert bench.state(job) == "finished"
    assert (bill["models"]["small"]["calls"], bill["models"]["large"]["calls"]) == (5, 2)
    told = bench.all(
        "SELECT row_no, tier, action FROM cascade.decisions WHERE job = :j AND action <> 'answer'"
        " ORDER BY action, row_no",
        j=job,
    )
    assert told == [
        (row, "small", action) for action in ("judge", "sample") for row in (0, 1)
    ]  # fmt: skip
    last = script.views[-1]
    assert last.verdict.tolist() == [[1, -1], [1, -1], [-1, -1]]
    assert bench.status(job)["tiers"]["large"]["escalated"] == 0
    assert bench.audit(job).is_ok


class Recording:
    """The real planner, and what it was asked and said."""

    def __init__(self) -> None:
        self.waves: list = []
        self.views: list = []

    def plan_wave(self, view, policy, *, seed, wave):
        self.views.append(kept(view))
        self.waves.append(PLANNER.plan_wave(view, policy, seed=seed, wave=wave))
        return self.waves[-1]

    def choose_answers(self, view):
        return PLANNER.choose_answers(view)

    def draw_frontier(self, view, *, budget_nanousd, seed):
        return PLANNER.draw_frontier(view, budget_nanousd=budget_nanousd, seed=seed)


@pytest.mark.parametrize("policy", ["auto", "random"])
async def test_the_same_seed_and_the_same_outcomes_give_the_same_waves(bench: Bench, policy: str):
    models = {"small": CHOOSY, "large": DEAR}
    told = []
    async with provider(**models) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, logprobs=True),
            bench.tier(served, "large", **ROOMY, price={"input": "10", "output": "20"}),
        ]
        for _ in range(2):
            job = bench.submit(
                tiers, 60, chunk_rows=7, seed=3, policy=policy, budget_nanousd=70_000_000,
                output={"choices": ["a", "b"]},
            )  # fmt: skip
            await bench.run(job, tiers)
            told.append((decisions(bench, job), [r.tier for r in bench.results(job)]))
    assert told[0] == told[1]
    assert len({wave for *_, wave, _, _, _, _ in told[0][0]}) > 1


async def test_planning_twice_from_what_is_stored_gives_the_same_wave(bench: Bench):
    """Once by a planner that saw the job grow, and once by one that begins with nothing."""
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
        first, again = Recording(), Recording()
        job = bench.submit(
            tiers, 60, chunk_rows=5, policy="random", planner=first, output={"choices": ["a", "b"]}
        )
        bench.hold_back(job, 3)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            bench.rested(job)

            def stop(view, policy, *, seed, wave):
                found = Recording.plan_wave(first, view, policy, seed=seed, wave=wave)
                control.pause_job(bench.engine, job)
                return found

            first.plan_wave = stop
            assert bench.plan(job, first) is None
            control.resume_job(bench.engine, job, bench.messages)
            bench.rested(job)
            other = Bench(bench.database_url)
            assert other.plan(job, again) is not None
            other.engine.dispose()
    assert same(first.views[-1], again.views[-1])
    one, two = first.waves[-1], again.waves[-1]
    assert len(one) > 10
    assert np.array_equal(one.row_no, two.row_no)
    assert np.array_equal(one.tier_no, two.tier_no)
    assert np.array_equal(one.gain, two.gain)
    assert one.price_of_money == two.price_of_money
