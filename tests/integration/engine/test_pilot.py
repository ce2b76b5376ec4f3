"""A pilot asks what the whole job will ask, stays within its money, and measures what is so."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.estimate import Estimate, estimate_job
from cascade_batch.engine.frontier import job_frontier
from cascade_batch.engine.pilot import draw_pilot, hear_pilot, pilot_reader, pilot_spec
from cascade_batch.engine.submit import submit_job
from cascade_batch.errors import BudgetError
from tests.integration.engine.bench import Bench, provider, reader

CHOICES = ("up", "down", "none")
ROWS = 300


def simulated(accuracy: float, scale: int) -> dict[str, Any]:
    return {
        "price": {"input": str(scale), "output": str(2 * scale)},
        "simulate": {
            "choices": list(CHOICES),
            "accuracy": accuracy,
            "gold": "#(up|down|none)",
        },
    }


def spec_of(tiers: list[Any], name: str, **more: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": name,
            "data": "d.jsonl",
            "budget_nanousd": 10**9,
            "prompt": "{{ text }}",
            "tiers": tuple(tiers),
            "output": {"choices": CHOICES},
            "gold": "label",
            **more,
        }
    )


def rows(gold_every: int) -> list[dict[str, Any]]:
    return [
        {
            "text": f"row {no} #{CHOICES[no % 3]}",
            "label": CHOICES[no % 3] if no % gold_every == 0 else None,
        }
        for no in range(ROWS)
    ]


def looked_at(spec: JobSpec, data: list[dict[str, Any]]) -> Estimate:
    return estimate_job(spec, reader(data), keep=1_000)


async def test_a_pilot_foretells_the_job_that_it_is_of(bench: Bench):
    data = rows(gold_every=4)
    async with provider(small=simulated(0.6, 1), large=simulated(0.95, 10)) as served:
        tiers = [
            bench.tier(served, "small"),
            bench.tier(served, "large", price={"input": "10", "output": "20"}),
        ]
        spec = spec_of(tiers, "whole")
        found = looked_at(spec, data)
        asked = draw_pilot(spec, found, 10**9, most=100)
        pilot = pilot_spec(spec, 10**9)
        submit_job(bench.engine, pilot, pilot_reader(asked))
        await bench.run(pilot.name, tiers)
        bill = served.bill()
        heard = hear_pilot(bench.engine, pilot.name, spec, found, asked, has_budget=False)
        # The whole job on its cheapest tier asks nothing that the pilot asked in the very same words.
        whole = spec.model_copy(update={"policy": "cheapest"})
        submit_job(bench.engine, whole, reader(data))
        await bench.run(whole.name, tiers)
        assert served.bill()["models"]["small"]["calls"] == ROWS
        assert served.bill()["duplicates"] == 0
    status = bench.status(whole.name)
    assert status["rows"]["answered"] == ROWS
    drawn = job_frontier(bench.engine, whole.name)["points"]
    assert 0 <= drawn[0]["budget_usd"] < drawn[-1]["budget_usd"]
    assert status["tiers"]["small"]["cached"] == status["tiers"]["large"]["cached"] == 100

    assert bill["models"]["small"]["calls"] == bill["models"]["large"]["calls"] == 100
    assert (heard["job"], heard["rows"], heard["labels"]) == ("whole-pilot", 100, "gold")
    assert heard["spent_usd"] == pytest.approx(bill["total_nanousd"] / 10**9)
    # All rows with a right answer were asked.
    small, large = heard["tiers"]["small"], heard["tiers"]["large"]
    assert (small["answers"], large["answers"]) == (100, 100)
    assert small["low"] < 0.6 < small["high"]
    assert large["low"] < 0.95 < large["high"]
    assert 0.4 < small["agreement"] < 0.8
    assert large["usd_per_answer"] == pytest.approx(10 * small["usd_per_answer"], rel=0.1)
    assert heard["measured"]
    assert heard["points"][0]["budget_usd"] * 10**9 == found.minimum_budget_nanousd
    assert heard["points"][-1]["low"] < 0.95 < heard["points"][-1]["high"]
    assert found.minimum_budget_nanousd <= heard["recommended"]["budget_usd"] * 10**9
    assert bench.audit(pilot.name).is_ok


async def test_a_pilot_stops_at_its_money_and_says_what_it_knows(bench: Bench):
    async with provider(small=simulated(0.6, 1), large=simulated(0.95, 1_000)) as served:
        tiers = [
            bench.tier(served, "small"),
            bench.tier(served, "large", price={"input": "1000", "output": "2000"}),
        ]
        spec = spec_of(tiers, "dear", gold=None)
        found = looked_at(spec, rows(gold_every=4))
        asked = draw_pilot(spec, found, 10**11, most=60)
        # Less than all of it takes.
        money = sum(row.worst_nanousd[1] for row in asked[:2])
        pilot = pilot_spec(spec, money)
        submit_job(bench.engine, pilot, pilot_reader(asked))
        await bench.run(pilot.name, tiers)
        bill = served.bill()
    heard = hear_pilot(bench.engine, pilot.name, spec, found, asked, has_budget=True)

    assert bill["total_nanousd"] <= money
    assert heard["tiers"]["small"]["answers"] == 60
    assert 0 < heard["tiers"]["large"]["answers"] < 60
    assert (heard["labels"], heard["measured"]) == ("agreement", False)
    assert heard["tiers"]["small"]["accuracy"] is None


def test_too_little_money_for_a_pilot_is_told_with_what_would_do(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    spec = spec_of(tiers, "poor")
    found = looked_at(spec, rows(gold_every=4))

    with pytest.raises(BudgetError, match="a pilot needs 30") as raised:
        draw_pilot(spec, found, 1_000)

    enough = float(raised.value.hint.split("$")[1].split()[0])
    assert len(draw_pilot(spec, found, round(enough * 10**9))) >= 30


def test_of_a_sample_all_is_scaled(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    spec = spec_of(tiers, "scaled")
    data = rows(gold_every=4)
    whole = estimate_job(spec, reader(data))
    part = partial(estimate_job, spec, reader(data[::3]), is_whole=False)()
    part.scale_to(ROWS, spec.budget_nanousd, exact=True)

    assert part.rows == ROWS
    assert part.is_sampled
    # With a little to spare.
    assert 1 < part.minimum_budget_nanousd / whole.minimum_budget_nanousd < 1.1
    assert part.tiers[0].likely_nanousd == pytest.approx(whole.tiers[0].likely_nanousd, rel=0.02)
    assert part.affordable_rows == whole.affordable_rows == ROWS
