"""What providers do wrong, and what it costs: nothing is lost, nothing is bought twice unseen."""

from __future__ import annotations

import pytest

from cascade_batch.engine import calls
from cascade_batch.ledger import add_budget, read_balance
from cascade_batch.providers.limits import breaker
from tests.integration.engine.bench import Bench, provider

ROOMY = {"max_output_tokens": 64}


async def run_one_tier(bench: Bench, faults, rows=20, *, tier=None, **job_options):
    """A job on one tier that meets these faults; its name and the provider's bill."""
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **{**ROOMY, **(tier or {})})]
        job = bench.submit(tiers, rows, chunk_rows=10, **job_options)
        await bench.run(job, tiers)
        return job, served.bill()


async def test_a_storm_of_429_costs_nothing_and_loses_no_row(bench: Bench):
    storm = {"kind": "rate_limit", "probability": 0.3, "retry_after_s": 0.02}
    job, bill = await run_one_tier(bench, [storm], 60)
    status = bench.status(job)
    assert bill["models"]["small"]["faults"]["rate_limit"] > 0
    assert status["rows"]["answered"] == 60
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["at_risk_nanousd"] == 0
    assert bill["duplicates"] == 0
    assert bench.audit(job).is_ok


async def test_server_errors_are_tried_again_on_the_same_reservation(bench: Bench):
    job, bill = await run_one_tier(
        bench, [{"kind": "server_error", "status": 503, "first": 1, "prompt_share": 0.3}], 40
    )
    status = bench.status(job)
    assert bill["models"]["small"]["faults"]["server_error"] > 0
    assert status["rows"]["answered"] == 40
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_row_that_alone_gets_server_errors_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calls, "RETRY_BASE_S", 0.01)
    job, _ = await run_one_tier(bench, [{"kind": "server_error", "match": "row 7$"}], 20)
    failed = [r for r in bench.results(job) if r.status == "failed"]
    assert [r.row_no for r in failed] == [7]
    assert "HTTP 500" in failed[0].error
    assert bench.status(job)["rows"]["answered"] == 19
    assert bench.audit(job).is_ok


@pytest.mark.parametrize("kind", ["reset", "cut_body", "html_200", "error_200"])
async def test_calls_without_a_known_end_are_written_off_and_made_again(bench: Bench, kind: str):
    job, bill = await run_one_tier(bench, [{"kind": kind, "first": 1, "match": "row (3|11)$"}])
    status = bench.status(job)
    assert status["rows"]["answered"] == 20
    assert bill["duplicates"] == 2
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert status["at_risk_nanousd"] > 0
    assert status["tiers"]["small"]["lost_calls"] == 2
    assert bench.audit(job).is_ok


async def test_a_row_that_never_comes_back_is_given_up_after_three_write_offs(bench: Bench):
    job, bill = await run_one_tier(bench, [{"kind": "reset", "match": "row 5$"}], 12)
    status = bench.status(job)
    failed = [r for r in bench.results(job) if r.status == "failed"]
    assert [r.row_no for r in failed] == [5]
    assert "disconnected 3 times" in failed[0].error
    assert bill["models"]["small"]["faults"]["reset"] == 3
    assert status["tiers"]["small"]["lost_calls"] == 3
    assert status["rows"] == {
        "total": 12, "answered": 11, "failed": 1, "pending": 0, "unfunded": 0
    }  # fmt: skip
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bench.audit(job).is_ok


async def test_a_call_that_hangs_is_written_off_at_its_worst_case(bench: Bench):
    job, bill = await run_one_tier(
        bench, [{"kind": "hang", "first": 1, "match": "row 2$"}], 4, tier={"timeout_s": 0.5}
    )
    status = bench.status(job)
    assert status["rows"]["answered"] == 4
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert status["at_risk_nanousd"] > 0
    assert bench.audit(job).is_ok


async def test_a_refused_row_fails_alone_with_the_servers_words(bench: Bench):
    job, bill = await run_one_tier(bench, [{"kind": "bad_request", "match": "row (4|8)$"}])
    results = bench.results(job)
    assert [r.row_no for r in results if r.status == "failed"] == [4, 8]
    assert all("small: " in r.error and "400" in r.error for r in results if r.status == "failed")
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 18
    assert status["rows"]["unfunded"] == 0
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert bench.audit(job).is_ok


async def test_rows_that_the_cheapest_tier_refuses_go_to_the_next(bench: Bench):
    faults = [{"kind": "bad_request", "match": "row (4|8)$", "model": "small"}]
    async with provider(small=True, large=True, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY),
            bench.tier(served, "large", **ROOMY, price={"input": "5", "output": "10"}),
        ]
        job = bench.submit(tiers, 20, policy="cheapest")
        await bench.run(job, tiers)
    results = bench.results(job)
    assert [r.row_no for r in results if r.tier == "large"] == [4, 8]
    assert bench.status(job)["rows"]["answered"] == 20
    assert bench.audit(job).is_ok


async def test_a_refused_key_stops_the_job_and_names_tier_and_variable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SMALL_KEY", "sk-not-shown")
    faults = [{"kind": "unauthorized", "nth": list(range(15, 200))}]
    async with provider(small=True, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, api_key_env="SMALL_KEY", limits={"concurrency": 2})
        ]
        job = bench.submit(tiers, 40, chunk_rows=5)
        await bench.run(job, tiers)
        bill = served.bill()
        status = bench.status(job)
        assert status["status"] == "failed"
        assert "small" in status["reason"]
        assert "SMALL_KEY" in status["reason"]
        assert "sk-not-shown" not in status["reason"]
        assert status["rows"]["answered"] == 14
        assert status["spent_nanousd"] == bill["total_nanousd"]
        assert status["reserved_nanousd"] == 0
        assert bill["models"]["small"]["faults"]["unauthorized"] < 10
        assert bench.audit(job).is_ok


async def test_a_tier_that_bills_more_than_it_declared_is_stopped_and_nothing_is_lost(bench: Bench):
    faults = [{"kind": "wrong_usage", "factor": 50, "nth": 5}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})]
        job = bench.submit(tiers, 20, chunk_rows=10)
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert status["overrun_nanousd"] > 0
    assert status["spent_nanousd"] + status["overrun_nanousd"] == bill["total_nanousd"]
    assert "billed" in status["tiers"]["small"]["stopped"]
    answered = [r for r in bench.results(job) if r.status == "answered"]
    assert len(answered) == bill["models"]["small"]["answered"] < 20
    failed = [r for r in bench.results(job) if r.status == "failed"]
    assert len(answered) + len(failed) == 20
    assert all("billed" in r.error for r in failed)
    assert status["rows"]["unfunded"] == len(failed)
    assert bench.audit(job).is_ok


async def test_rows_of_a_stopped_tier_go_to_the_next(bench: Bench):
    faults = [{"kind": "wrong_usage", "factor": 50, "nth": 5, "model": "small"}]
    async with provider(small=True, large=True, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, limits={"concurrency": 1}),
            bench.tier(served, "large", **ROOMY, price={"input": "5", "output": "10"}),
        ]
        job = bench.submit(tiers, 20, policy="cheapest")
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 20
    assert bill["models"]["large"]["calls"] == 20 - bill["models"]["small"]["calls"] > 0
    assert bench.audit(job).is_ok


async def test_answers_without_usage_are_settled_at_their_reservation(bench: Bench):
    job, bill = await run_one_tier(bench, [{"kind": "no_usage", "match": "row 3$"}], 8)
    status = bench.status(job)
    worst = bench.one(
        "SELECT worst_nanousd[1] FROM cascade_store.row WHERE job_id = :job AND row_no = 3",
        job=bench.job_id(job),
    )
    assert [r.cost_nanousd for r in bench.results(job)][3] == worst
    assert status["rows"]["answered"] == 8
    assert status["at_risk_nanousd"] == 0
    assert bill["total_nanousd"] < status["spent_nanousd"]
    assert bench.audit(job).is_ok


async def test_cut_off_answers_are_kept_marked_and_not_bought_again(bench: Bench):
    job, bill = await run_one_tier(bench, [{"kind": "truncated_answer", "match": "row 3$"}], 6)
    assert bench.status(job)["rows"]["answered"] == 6
    assert bill["models"]["small"]["calls"] == 6
    marked = bench.all(
        "SELECT row_no, answer FROM cascade.answers WHERE job = :job AND truncated", job=job
    )
    assert [row_no for row_no, _ in marked] == [3]
    assert marked[0][1]
    assert bench.audit(job).is_ok


async def test_everything_at_once_is_still_paid_once_and_covered(bench: Bench):
    faults = [
        {"kind": "rate_limit", "probability": 0.1, "retry_after_s": 0.01},
        {"kind": "server_error", "probability": 0.05},
        {"kind": "reset", "probability": 0.03},
        {"kind": "cut_body", "probability": 0.02},
        {"kind": "no_usage", "probability": 0.05},
        {"kind": "bad_request", "match": "row (7|77)$"},
    ]
    job, bill = await run_one_tier(bench, faults, 150)
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] + status["rows"]["failed"] == 150
    assert status["rows"]["failed"] <= 4
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert bill["duplicates"] <= status["tiers"]["small"]["lost_calls"]
    assert bench.audit(job).is_ok


async def test_an_outage_is_waited_for_and_the_job_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calls, "RETRY_BASE_S", 0.001)
    monkeypatch.setattr(calls, "BREAKER_PATIENCE_S", 0.5)
    outage = {"kind": "server_error", "status": 503, "until_s": 1}
    async with provider(small=True, faults=[outage]) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 12, chunk_rows=4)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            # The chunks wait in the table, not in the worker, and hold no money.
            status = bench.status(job)
            assert status["status"] == "running"
            assert "'small' does not answer" in status["reason"]
            assert "503" in status["reason"]
            assert status["reserved_nanousd"] == 0
            assert bench.one(
                "SELECT bool_and(state = 'ready' AND not_before > now()) FROM cascade_store.chunk"
                " WHERE job_id = :job",
                job=bench.job_id(job),
            )
            await bench.finish(job, worker)
    status = bench.status(job)
    assert status["rows"]["answered"] == 12
    assert "does not answer" not in (status["reason"] or "")
    assert status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


async def test_a_long_outage_costs_no_row(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """The breaker lets a few calls through now and then, and they fail: that says nothing about rows."""
    monkeypatch.setattr(calls, "RETRY_BASE_S", 0.001)
    monkeypatch.setattr(calls, "BREAKER_PATIENCE_S", 0.01)
    monkeypatch.setattr(breaker, "OPEN_BASE_S", 0.02)
    monkeypatch.setattr(breaker, "OPEN_CAP_S", 0.05)
    outage = {"kind": "server_error", "nth": list(range(4, 64))}
    async with provider(small=True, faults=[outage]) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 2})]
        job = bench.submit(tiers, 10)
        await bench.run(job, tiers)
        assert served.bill()["calls_refused"] == 60
    assert bench.status(job)["rows"]["answered"] == 10
    assert bench.audit(job).is_ok


async def test_a_tier_without_a_price_serves_even_when_an_overrun_ate_all_the_money(bench: Bench):
    free = {"input": "0", "output": "0"}
    faults = [{"kind": "wrong_usage", "factor": 5000, "nth": 3, "model": "small"}]
    async with provider(small=True, own={"echo": True, "price": free}, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, limits={"concurrency": 1}),
            bench.tier(served, "own", **ROOMY, price=free),
        ]
        job = bench.submit(tiers, 10, policy="cheapest", budget_nanousd=10**6)
        bench.execute(
            "UPDATE cascade_store.chunk SET tier_no = 0, tier_name = 'small' WHERE job_id = :job",
            job=bench.job_id(job),
        )
        await bench.run(job, tiers)
    status = bench.status(job)
    assert status["spent_nanousd"] + status["overrun_nanousd"] > status["budget_nanousd"]
    assert status["rows"]["answered"] == 10
    assert {r.tier for r in bench.results(job)} == {"small", "own"}


async def test_a_first_answer_comes_before_any_second_opinion(bench: Bench):
    """A row that the cheapest tier refused needs more than its fence held: escalations of the same
    wave, on a tier whose workers come first, must leave it that."""
    choices = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
    prices = {"small": "1", "middle": "5", "large": "20"}
    models = {n: choices | {"price": {"input": p, "output": p}} for n, p in prices.items()}
    faults = [
        {"kind": "bad_request", "match": "row 7$", "model": "small"},
        # Settled at the worst case.
        {"kind": "no_usage", "model": "large"},
    ]
    async with provider(**models, faults=faults) as served:
        tiers = [bench.tier(served, n, price={"input": p, "output": p}) for n, p in prices.items()]
        rows = [{"text": f"row {n}"} for n in range(10)]
        job = bench.submit(
            tiers, rows, policy="dearest", output={"choices": ["a", "b"]}, budget_nanousd=1_600_000
        )
        job_id = bench.job_id(job)
        bench.execute(
            "UPDATE cascade_store.chunk SET tier_no = 0, tier_name = 'small' WHERE job_id = :job",
            job=job_id,
        )
        async with bench.worker(["small"]) as first:
            await first.drive()
        assert bench.status(job)["rows"]["answered"] >= 1
        middle, large = bench.all(
            "SELECT worst_nanousd[2], worst_nanousd[3] FROM cascade_store.row"
            " WHERE job_id = :job AND row_no = 7",
            job=job_id,
        )[0]
        with bench.engine.begin() as connection:
            balance = read_balance(connection, job_id)
            # Enough for two second opinions, or for one of them and a first answer.
            wanted = 2 * large + middle // 2 - balance.free_nanousd
            assert wanted > 0
            add_budget(connection, job_id=job_id, add_nanousd=wanted, actor="test")
        assert bench.plan(job).purchases > 1
        async with bench.worker(["large"]) as dear, bench.worker(tiers) as all_tiers:
            await dear.drive()
            await bench.finish(job, all_tiers)
    assert bench.results(job)[7].status == "answered"
    assert bench.audit(job).is_ok
