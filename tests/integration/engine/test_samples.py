"""A tier that is asked a second time: paid for, kept apart from its first answer, comparable with it."""

from __future__ import annotations

import asyncio

from cascade_batch.engine.sweep import sweep_once
from tests.integration.engine.bench import Bench, provider, until
from tests.integration.engine.bought_evidence import release

ROWS = 20


def samples(bench: Bench, job: str):
    return bench.all(
        "SELECT a.row_no, a.sample_no, a.value_key FROM cascade_store.answer a"
        " WHERE a.job_id = :job ORDER BY a.row_no, a.sample_no",
        job=bench.job_id(job),
    )


async def test_a_second_sample_is_stored_beside_the_first_and_results_choose_the_first(
    bench: Bench,
):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        job = bench.submit(tiers, ROWS, policy="cheapest", chunk_rows=7)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            once = served.bill()["total_nanousd"]
            release(bench, job, 0, list(range(ROWS)), sample_no=1)
            await worker.drive()
            # The second answer differs, and would win were it looked at.
            bench.execute(
                "UPDATE cascade_store.answer SET text = 'second', value = '\"second\"'"
                " WHERE job_id = :job AND sample_no = 1",
                job=bench.job_id(job),
            )
            early = [result.answer for result in bench.results(job)]
            await bench.finish(job, worker)
        bill = served.bill()
    keys = samples(bench, job)
    assert [(row, sample) for row, sample, _ in keys] == [
        (n, s) for n in range(ROWS) for s in (0, 1)
    ]
    first, second = ({row: key for row, s, key in keys if s == sample} for sample in (0, 1))
    assert first == second
    assert len(set(first.values())) == ROWS
    assert early == [f"row {n}" for n in range(ROWS)]
    assert [result.answer for result in bench.results(job)] == early
    status = bench.status(job)
    assert status["rows"]["answered"] == ROWS
    assert status["spent_nanousd"] == bill["total_nanousd"] == 2 * once
    assert bill["duplicates"] == ROWS
    assert sum(result.cost_nanousd for result in bench.results(job)) == bill["total_nanousd"]
    assert (bench.audit(job).differences, bench.audit(job).answers) == ([], 2 * ROWS)


async def test_samples_of_rows_that_have_no_first_answer_or_have_the_sample_are_not_bought(
    bench: Bench,
):
    faults = [{"kind": "bad_request", "match": "row 1$"}]
    async with provider(small=True, large=True, faults=faults) as served:
        tiers = [bench.tier(served, name, max_output_tokens=64) for name in ("small", "large")]
        job = bench.submit(tiers, 3, policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            for _ in range(2):
                release(bench, job, 0, [0, 1, 2], sample_no=1)
                await worker.drive()
    assert [(row, sample) for row, sample, _ in samples(bench, job)] == [
        (0, 0), (0, 1), (2, 0), (2, 1)
    ]  # fmt: skip
    assert bench.audit(job).is_ok


async def test_a_worker_that_dies_in_second_samples_costs_their_worst_case_and_doubles_nothing(
    bench: Bench,
):
    async with provider(small={"echo": True, "latency_ms": 40}) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64, limits={"concurrency": 4})]
        job = bench.submit(tiers, ROWS, policy="cheapest")
        async with bench.worker(tiers) as doomed, bench.worker(tiers) as other:
            await doomed.drive()
            release(bench, job, 0, list(range(ROWS)), sample_no=1)
            drive = asyncio.create_task(doomed.drive())
            await until(lambda: served.bill()["models"]["small"]["answered"] >= ROWS + 5)
            drive.cancel()
            await asyncio.gather(drive, return_exceptions=True)
            bench.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE state = 'leased'"
            )
            sweep_once(bench.engine, bench.messages)
            at_risk = bench.status(job)["at_risk_nanousd"]
            assert at_risk > 0
            await bench.finish(job, other)
        bill = served.bill()
    status = bench.status(job)
    assert len(samples(bench, job)) == 2 * ROWS
    assert status["at_risk_nanousd"] == at_risk
    assert bill["total_nanousd"] <= status["spent_nanousd"] + at_risk
    assert bench.audit(job).is_ok


async def test_a_refused_sample_leaves_the_answer_alone(bench: Bench):
    faults = [{"kind": "bad_request", "match": "row 0$", "nth": [2]}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        job = bench.submit(tiers, 2, policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 0, [0, 1], sample_no=1)
            await worker.drive()
            release(bench, job, 0, [0, 1], sample_no=1)
            await worker.drive()
            await bench.finish(job, worker)
        bill = served.bill()
    assert [(row, sample) for row, sample, _ in samples(bench, job)] == [(0, 0), (1, 0), (1, 1)]
    assert [result.answer for result in bench.results(job)] == ["row 0", "row 1"]
    assert bill["calls_total"] == 4
    assert bench.audit(job).is_ok
