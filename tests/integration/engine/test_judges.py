"""Judges: verdicts that are bought like answers, stored once, and paid for to the last nano-dollar."""

from __future__ import annotations

import asyncio

import pytest

from cascade_batch.engine.sweep import sweep_once
from tests.integration.engine.bench import Bench, provider, until
from tests.integration.engine.bought_evidence import judge, release, verdicts
from tests.integration.engine.proxy import Proxy

ROWS = 30


def tiers_of(bench: Bench, served, **large):
    return [
        bench.tier(served, "small", max_output_tokens=64),
        bench.tier(served, "large", price={"input": "10", "output": "20"}, logprobs=True, **large),
    ]


async def test_verdicts_are_stored_and_cost_what_the_provider_billed(bench: Bench):
    async with provider(small=True, large=judge()) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, ROWS, check="judge:large", policy="cheapest", chunk_rows=10)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            drafts = bench.status(job)["spent_nanousd"]
            release(bench, job, 1, list(range(ROWS)), judged_tier_no=0)
            await worker.drive()
            await bench.finish(job, worker)
        bill = served.bill()
    assert [(row, tier, by, passed) for row, tier, by, passed, *_ in verdicts(bench, job)] == [
        (row, "small", "large", row % 2 == 0) for row in range(ROWS)
    ]
    for _, _, _, passed, probability, said, error in verdicts(bench, job):
        assert probability > 0.9 if passed else probability < 0.1
        assert (said, error) == ("yes" if passed else "no", None)
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["spent_nanousd"] == bill["total_nanousd"] > drafts
    assert status["tiers"]["large"]["calls"] == ROWS
    assert (
        round(status["tiers"]["large"]["spent_usd"] * 10**9) == bill["models"]["large"]["nanousd"]
    )
    report = bench.audit(job)
    assert (report.differences, report.answers, report.verdicts) == ([], ROWS, ROWS)
    # What a row's evidence cost is part of what the row cost.
    assert sum(result.cost_nanousd for result in bench.results(job)) == bill["total_nanousd"]
    shown = "SELECT calls, answers, verdicts FROM cascade.calls_by_tier WHERE job = :j AND tier = 'large'"
    assert bench.all(shown, j=job) == [(ROWS, 0, ROWS)]
    assert {result.tier for result in bench.results(job)} == {"small"}


async def test_an_audit_sees_a_verdict_whose_price_was_changed_or_that_is_gone(bench: Bench):
    async with provider(small=True, large=judge()) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, 4, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, [0, 1, 2, 3], judged_tier_no=0)
            await worker.drive()
    assert bench.audit(job).is_ok
    of_job = f"WHERE job_id = {bench.job_id(job)}"
    bench.execute(f"UPDATE cascade_store.verdict SET cost_nanousd = cost_nanousd + 1 {of_job}")
    assert "answers and verdicts" in bench.audit(job).differences[0]
    bench.execute(f"UPDATE cascade_store.verdict SET cost_nanousd = cost_nanousd - 1 {of_job}")
    assert bench.audit(job).is_ok
    bench.execute(f"UPDATE cascade_store.verdict SET tier_no = 1 {of_job} AND row_no = 3")
    assert bench.audit(job).differences == ["verdicts without an answer: 1 against 0"]
    bench.execute(f"DELETE FROM cascade_store.verdict {of_job} AND row_no = 3")
    assert any("verdicts counted" in difference for difference in bench.audit(job).differences)


async def test_no_more_is_judged_than_the_worst_cases_allow(bench: Bench):
    rows = [{"text": "x" * 40 * n + str(n)} for n in range(12)]
    async with provider(small=True, large=judge()) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(
            tiers, rows, check="judge:large", policy="cheapest", budget_nanousd=40_000_000
        )
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, list(range(12)), judged_tier_no=0)
            await worker.drive()
            await bench.finish(job, worker)
        bill = served.bill()
    judged = len(verdicts(bench, job))
    assert 0 < judged < 12
    assert bill["total_nanousd"] == bench.status(job)["spent_nanousd"] <= 40_000_000
    assert bench.status(job)["rows"]["answered"] == 12
    assert bench.audit(job).is_ok


async def test_what_a_judge_says_besides_yes_and_no_is_paid_for_and_is_no_verdict(bench: Bench):
    async with provider(small=True, large=judge()) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, [{"text": "nothing of a number"}], check="judge:large")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, [0], judged_tier_no=0)
            await worker.drive()
        bill = served.bill()
    ((_, _, _, passed, probability, said, error),) = verdicts(bench, job)
    assert (passed, probability, said) == (None, None, "perhaps")
    assert "names none of the choices" in error
    assert bench.status(job)["spent_nanousd"] == bill["total_nanousd"]
    assert bench.audit(job).is_ok


async def test_a_refused_verdict_is_not_asked_for_again_and_bars_the_judge_from_nothing(
    bench: Bench,
):
    faults = [{"kind": "bad_request", "model": "large", "match": r"ANSWER \w+>>>\nrow 3\n"}]
    async with provider(small=True, large=judge(), faults=faults) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, 6, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, list(range(6)), judged_tier_no=0)
            await worker.drive()
            calls = served.bill()["models"]["large"]["calls"]
            release(bench, job, 1, list(range(6)), judged_tier_no=0)
            await worker.drive()
            assert served.bill()["models"]["large"]["calls"] == calls == 6
            # The tier itself may still be asked about this row.
            release(bench, job, 1, [3])
            await worker.drive()
        bill = served.bill()
    refused = [v for v in verdicts(bench, job) if v[5] is None]
    assert [(row, passed) for row, _, _, passed, *_ in refused] == [(3, None)]
    assert "400" in refused[0][6] or "fault" in refused[0][6].lower()
    assert (
        bench.one("SELECT count(*) FROM cascade.answers WHERE job = :j AND tier = 'large'", j=job)
        == 1
    )
    assert bench.status(job)["spent_nanousd"] == bill["total_nanousd"]
    assert bench.audit(job).is_ok


async def test_judge_calls_that_are_lost_are_written_off_and_speak_against_the_verdict_alone(
    bench: Bench,
):
    faults = [{"kind": "reset", "model": "large", "match": r"ANSWER \w+>>>\nrow 2\n"}]
    async with provider(small=True, large=judge(), faults=faults) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, 4, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, [0, 1, 2, 3], judged_tier_no=0)
            await worker.drive()
            release(bench, job, 1, [2])
            await worker.drive()
        bill = served.bill()
    status = bench.status(job)
    assert status["tiers"]["large"]["lost_calls"] == 3
    assert [row for row, *_, said, _ in verdicts(bench, job) if said is None] == [2]
    assert (
        bench.one("SELECT count(*) FROM cascade.answers WHERE job = :j AND tier = 'large'", j=job)
        == 1
    )
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bench.audit(job).is_ok


async def test_rows_that_the_judged_tier_did_not_answer_are_passed_over(bench: Bench):
    faults = [{"kind": "bad_request", "model": "small", "match": "row 1"}]
    async with provider(small=True, large=judge(), faults=faults) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, 3, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, [0, 1, 2], judged_tier_no=0)
            await worker.drive()
    assert [row for row, *_ in verdicts(bench, job)] == [0, 2]
    assert bench.audit(job).is_ok


async def test_a_worker_that_dies_in_judge_calls_costs_their_worst_case_and_doubles_nothing(
    bench: Bench,
):
    async with provider(small=True, large=judge(latency_ms=50)) as served:
        tiers = tiers_of(bench, served, limits={"concurrency": 4})
        job = bench.submit(tiers, ROWS, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as doomed, bench.worker(tiers) as other:
            await doomed.drive()
            assert bench.status(job)["at_risk_nanousd"] == 0
            release(bench, job, 1, list(range(ROWS)), judged_tier_no=0)
            drive = asyncio.create_task(doomed.drive())
            await until(lambda: served.bill()["models"]["large"]["answered"] >= 6)
            drive.cancel()
            await asyncio.gather(drive, return_exceptions=True)
            reserved = bench.status(job)["reserved_nanousd"]
            assert reserved > 0
            bench.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE state = 'leased'"
            )
            sweep_once(bench.engine, bench.messages)
            assert bench.status(job)["at_risk_nanousd"] == reserved
            assert bench.audit(job).is_ok
            await bench.finish(job, other)
        bill = served.bill()
    status = bench.status(job)
    assert [row for row, *_ in verdicts(bench, job)] == list(range(ROWS))
    assert status["at_risk_nanousd"] == reserved
    assert status["tiers"]["large"]["lost_calls"] >= 1
    assert bill["duplicates"] <= status["tiers"]["large"]["lost_calls"]
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bench.audit(job).is_ok


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
async def test_a_connection_that_breaks_in_a_turn_loses_and_doubles_no_verdict(
    bench: Bench, direction: str
):
    async with (
        Proxy.to(bench.database_url) as proxy,
        provider(small=True, large=judge()) as served,
    ):
        tiers = tiers_of(bench, served, limits={"concurrency": 8})
        job = bench.submit(tiers, ROWS, check="judge:large", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
        release(bench, job, 1, list(range(ROWS)), judged_tier_no=0)
        async with bench.worker(tiers, database_url=proxy.url) as worker:
            proxy.cut_every(3, direction)
            await worker.drive()
            proxy.cut_every(0, direction)
            bench.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE state = 'leased'"
            )
            sweep_once(bench.engine, bench.messages)
            await bench.finish(job, worker)
        bill = served.bill()
    assert proxy.cuts >= 1
    status = bench.status(job)
    assert len(verdicts(bench, job)) == ROWS
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert (status["at_risk_nanousd"], bill["duplicates"]) == (0, 0)
    assert bench.audit(job).is_ok


async def test_gold_audits_a_judge_without_telling_it(bench: Bench):
    rows = [{"text": f"row {n}", "label": "row 0"} for n in range(2)]
    async with provider(small=True, large=judge()) as served:
        tiers = tiers_of(bench, served)
        job = bench.submit(tiers, rows, check="judge:large", gold="label", policy="cheapest")
        async with bench.worker(tiers) as worker:
            await worker.drive()
            release(bench, job, 1, [0, 1], judged_tier_no=0)
            await worker.drive()
        asked = [call for call in served.log() if call["model"] == "large"]
    assert len(asked) == 2
    held = "SELECT passed, matches_gold FROM cascade.answers WHERE job = :j ORDER BY row_no"
    assert bench.all(held, j=job) == [(None, True), (None, False)]
