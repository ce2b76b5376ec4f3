"""Rows that failed: what they have in common, what to do, asking them again, and the file of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from cascade_batch.cli.errors import next_step
from cascade_batch.engine import control
from cascade_batch.engine.jobs import find_job
from cascade_batch.engine.retry import Retried, retry_failed
from cascade_batch.errors import UsageError
from cascade_batch.results import error_file, export_job, failed_rows, failure_groups, missing_money
from tests.integration.engine.bench import Bench, provider

ROOMY = {"max_output_tokens": 64}


def groups(bench: Bench, job: str) -> dict[str, int]:
    with bench.engine.connect() as connection:
        return {g.reason: g.rows for g in failure_groups(connection, bench.job_id(job))}


def retry(bench: Bench, job: str, **more: Any) -> Retried:
    return retry_failed(bench.engine, job, bench.messages, **more)


def trace(bench: Bench, job: str) -> Any:
    """All that a change would leave a trace in."""
    return bench.all(
        "SELECT state, plan_generation, rows_failed, budget_nanousd, ring_fence_nanousd"
        "  FROM cascade_store.job JOIN cascade_store.balance USING (job_id) WHERE name = :job",
        job=job,
    )


FAULTS = [
    {"kind": "bad_request", "first": 1, "match": "poison 1$"},
    {"kind": "bad_request", "first": 1, "match": "poison 12$"},
    {"kind": "reset", "first": 3, "match": "unplugged$"},
]
ROWS = [{"text": t} for t in ("fine", "poison 1", "unplugged", "poison 12", "good")]


async def test_rows_are_asked_again_by_reason_and_others_are_left_alone(bench, read, tmp_path):
    async with provider(small=True, faults=FAULTS) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, ROWS, name="failing")
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            assert groups(bench, job) == {"refused": 2, "lost": 1}
            calls = served.bill()["calls_total"]

            assert retry(bench, job, reason="no such words") == Retried(0, 0)
            assert bench.state(job) == "finished"
            # A row's own number does not tell it from others of its kind.
            with bench.engine.connect() as connection:
                example = failure_groups(connection, bench.job_id(job))[0]
            assert (example.row_no, example.line_no, example.custom_id) == (1, 2, "1")
            assert retry(bench, job, reason=example.error).rows == 2
            assert groups(bench, job) == {"lost": 1}
            rows = bench.status(job)["rows"]
            assert (bench.state(job), rows["failed"], rows["pending"]) == ("running", 1, 2)
            told = read("SELECT row_no, status FROM failing WHERE status <> 'answered' ORDER BY 1")
            assert [tuple(row.values()) for row in told] == [
                (1, "pending"), (2, "failed"), (3, "pending")
            ]  # fmt: skip
            assert bench.audit(job).is_ok
            await bench.finish(job, worker)
            assert served.bill()["calls_total"] == calls + 2
            assert (bench.state(job), groups(bench, job)) == ("finished", {"lost": 1})
            assert bench.audit(job).is_ok

            assert retry(bench, job, reason="lost").rows == 1
            await bench.finish(job, worker)
            assert bench.status(job)["rows"]["answered"] == len(ROWS)
            before = trace(bench, job)
            assert retry(bench, job, add_nanousd=5) == Retried(0, 0)
            assert trace(bench, job) == before
    assert bench.audit(job).is_ok


async def test_a_row_that_fails_again_is_told_of_again(bench):
    faults = [{"kind": "bad_request", "match": "poison"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, [{"text": "fine"}, {"text": "poison"}])
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            assert retry(bench, job).rows == 1
            assert retry(bench, job).rows == 0
            await bench.finish(job, worker)
    assert groups(bench, job) == {"refused": 1}
    assert bench.status(job)["rows"]["failed"] == 1
    assert bench.audit(job).is_ok


async def test_rows_of_a_tier_that_was_stopped_are_asked_when_it_may_start_again(bench):
    faults = [{"kind": "wrong_usage", "factor": 50, "first": 1, "match": "row 4$"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 1})]
        job = bench.submit(tiers, 12, chunk_rows=6)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            failed = groups(bench, job)
            assert set(failed) == {"stopped"}
            assert retry(bench, job, reason="refused").rows == 0
            assert retry(bench, job, reason="stopped").rows == failed["stopped"]
            assert bench.status(job)["tiers"]["small"]["stopped"] is None
            await bench.finish(job, worker)
    assert bench.status(job)["rows"]["answered"] == 12
    assert bench.audit(job).is_ok


async def test_what_money_is_missing_is_said_and_added_with_the_retry(bench):
    price = {"call": "0.01"}
    faults = [{"kind": "reset", "first": 1, "match": "row 2$"}]
    model = {"echo": True, "price": price}
    async with provider(small=model, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY, price=price)]
        job = bench.submit(tiers, 4, budget_nanousd=40_000_000)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            assert groups(bench, job) == {"money": 1}
            with bench.engine.connect() as connection:
                (group,) = failure_groups(connection, bench.job_id(job))
                missing = missing_money(connection, bench.job_id(job))
            assert missing == 10_000_000
            step = next_step("it's", group, missing)
            assert step.endswith("retry 'it'\"'\"'s' --failed --reason money --add 0.01")

            assert retry(bench, job) == Retried(1, 10_000_000)
            await bench.finish(job, worker)
            assert groups(bench, job) == {"money": 1}
            assert retry(bench, job, reason="money", add_nanousd=missing, actor="me") == Retried(
                1, 0
            )
            await bench.finish(job, worker)
    assert bench.status(job)["rows"]["answered"] == 4
    assert bench.status(job)["budget_nanousd"] == 50_000_000
    assert bench.audit(job).is_ok


async def test_failures_go_to_a_file_beside_the_results_while_there_are_any(bench, tmp_path):
    faults = [{"kind": "bad_request", "first": 1, "match": "poison"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        row = {"text": "poison", "topic": ["a", 1]}
        job = bench.submit(tiers, [{"text": "fine"}, row])

        def export(name: str) -> Any:
            with bench.engine.connect() as connection:
                found = find_job(connection, job)
                return export_job(connection, found.job_id, tmp_path / name, found.spec)

        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            done = export("out.jsonl")
            assert (done.rows, done.failed, done.errors) == (2, 1, tmp_path / "out.errors.jsonl")
            (line,) = map(json.loads, done.errors.read_text().splitlines())
            with bench.engine.connect() as connection:
                (failed,) = failed_rows(connection, bench.job_id(job))
            assert line == {
                "custom_id": "1", "row_no": 1, "line_no": 2, "reason": "refused",
                "error": failed.error, "message": failed.error, "row": row,
            }  # fmt: skip
            assert "HTTP 400" in line["error"]

            (tmp_path / "other.errors.jsonl").write_text('{"mine": 1}\n')
            with pytest.raises(UsageError, match="in the way"):
                export("other.csv")
            assert not (tmp_path / "other.csv").exists()

            retry(bench, job)
            await bench.finish(job, worker)
    assert export("out.parquet").failed == 0
    assert not (tmp_path / "out.errors.jsonl").exists()
    assert (tmp_path / "other.errors.jsonl").exists()
    assert error_file(tmp_path / "a.b.csv").name == "a.b.errors.jsonl"


def typed(bench: Bench, redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`cascade-batch` as somebody types it."""
    return subprocess.run(
        [sys.executable, "-m", "cascade_batch", *arguments],
        env={
            **os.environ,
            "CASCADE_DATABASE_URL": bench.database_url,
            "CASCADE_REDIS_URL": redis_url,
        },
        capture_output=True,
        text=True,
        check=False,
    )


POISONED = [{"text": t} for t in ("poison", "fine", "good")]


async def test_a_paused_job_stays_paused_and_asks_again_when_it_goes_on(bench, redis_url):
    faults = [{"kind": "bad_request", "first": 1, "match": "poison"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, POISONED, name="held", chunk_rows=1)
        bench.hold_back(job, 2)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            control.pause_job(bench.engine, job)
            done = typed(bench, redis_url, "retry", job, "--failed", "--add", "0.5")
            assert done.returncode == 0
            assert "1 row of job 'held' that failed is asked once more as soon" in done.stderr
            assert "It is paused; go on with it:  cascade-batch resume held" in done.stderr
            assert bench.state(job) == "paused"
            assert bench.status(job)["budget_nanousd"] == 10**12 + 500_000_000
            assert (await worker.drive()).chunks == 0
            assert served.bill()["calls_total"] == 1
            control.resume_job(bench.engine, job, bench.messages)
            await bench.finish(job, worker)
    assert [r.answer for r in bench.results(job)] == ["poison", "fine", "good"]
    assert bench.audit(job).is_ok


async def test_a_cancelled_job_with_work_left_is_for_resume(bench, redis_url):
    faults = [{"kind": "bad_request", "first": 1, "match": "poison"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, POISONED, name="ended early", chunk_rows=1)
        bench.hold_back(job, 2)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            control.cancel_job(bench.engine, job)
            before = trace(bench, job)
            done = typed(bench, redis_url, "retry", job, "--failed")
            assert done.returncode == 2
            assert "Job 'ended early' was cancelled with work left" in done.stderr
            assert "cascade-batch resume 'ended early' --retry-failed" in done.stderr
            with pytest.raises(UsageError, match="work left"):
                retry(bench, job, add_nanousd=5)
            assert trace(bench, job) == before

            done = typed(bench, redis_url, "resume", job, "--retry-failed")
            assert done.returncode == 0, done.stderr
            assert "Rows that failed and are asked once more: 1." in done.stderr
            await bench.finish(job, worker)
    assert [r.answer for r in bench.results(job)] == ["poison", "fine", "good"]
    assert bench.audit(job).is_ok


async def test_a_cancelled_job_that_had_nothing_else_to_do_goes_on(bench):
    faults = [{"kind": "bad_request", "first": 1, "match": "poison"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, POISONED, chunk_rows=1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            control.cancel_job(bench.engine, job)
            assert retry(bench, job).rows == 1
            await bench.finish(job, worker)
    assert [r.answer for r in bench.results(job)] == ["poison", "fine", "good"]
