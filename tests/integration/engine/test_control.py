"""Pause, resume, cancel, more money, another chance, delete: at rest and in the middle of work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cascade_batch.engine import control
from cascade_batch.engine.retry import retry_failed
from cascade_batch.errors import JobExistsError, JobNotFoundError, UsageError
from cascade_batch.store.engine import make_engine
from tests.integration.engine.bench import Bench, provider, until

ROOMY = {"max_output_tokens": 64}
SLOW = {"echo": True, "latency_ms": 10}


async def test_pause_settles_what_is_in_flight_and_resume_goes_on(bench: Bench):
    async with provider(small=SLOW) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 4})]
        job = bench.submit(tiers, 120, chunk_rows=20)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] >= 10)
            paused = await asyncio.to_thread(control.pause_job, bench.engine, job)
            assert paused.state == "paused"
            await drive
            bill = served.bill()
            assert bill["calls_total"] < 120
            status = bench.status(job)
            assert status["status"] == "paused"
            assert status["rows"]["answered"] == bill["calls_total"]
            assert status["spent_nanousd"] == bill["total_nanousd"]
            assert status["reserved_nanousd"] == 0
            # Nobody works on it, and nobody plans it.
            assert (await worker.drive()).chunks == 0
            assert bench.plan(job) is None
            control.resume_job(bench.engine, job, bench.messages)
            assert job in {notice.job for notice in bench.messages.chunks}
            await bench.finish(job, worker)
        assert served.bill()["duplicates"] == 0
    assert bench.status(job)["rows"]["answered"] == 120
    assert bench.audit(job).is_ok


async def test_resume_right_after_pause_with_calls_still_in_flight(bench: Bench):
    async with provider(small=SLOW) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 4})]
        job = bench.submit(tiers, 60, chunk_rows=20)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            for calls in range(5, 50, 5):
                await until(
                    lambda calls=calls, drive=drive: (
                        served.bill()["calls_total"] >= calls or drive.done()
                    )
                )
                if drive.done():
                    drive = asyncio.create_task(worker.drive())
                await asyncio.to_thread(control.pause_job, bench.engine, job)
                await asyncio.to_thread(control.resume_job, bench.engine, job, bench.messages)
            await drive
            await bench.finish(job, worker)
        bill = served.bill()
    status = bench.status(job)
    assert status["rows"]["answered"] == 60
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert bill["duplicates"] == 0
    assert bench.audit(job).is_ok


async def test_cancel_keeps_what_is_done_and_can_be_resumed(bench: Bench):
    async with provider(small=SLOW) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 4})]
        job = bench.submit(tiers, 60, chunk_rows=20)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] >= 10)
            await asyncio.to_thread(control.cancel_job, bench.engine, job)
            await drive
            done = served.bill()["calls_total"]
            assert done < 60
            status = bench.status(job)
            assert status["status"] == "cancelled"
            assert status["rows"]["answered"] == done
            assert len(bench.results(job)) == done
            assert bench.audit(job).is_ok
            with pytest.raises(UsageError, match="cancelled already"):
                control.cancel_job(bench.engine, job)
            with pytest.raises(UsageError, match="only a job at work"):
                control.pause_job(bench.engine, job)
            control.resume_job(bench.engine, job, bench.messages)
            await bench.finish(job, worker)
        assert served.bill()["duplicates"] == 0
    assert bench.status(job)["rows"]["answered"] == 60


async def test_adding_money_while_workers_take_turns_never_deadlocks(bench: Bench):
    """Both lock the job's balance; neither may wait for what the other holds."""
    faults = [{"kind": "bad_request", "match": "bad"}]
    async with provider(small={"echo": True, "latency_ms": 2}, faults=faults) as served:
        tiers = [
            bench.tier(served, "small", **ROOMY, limits={"concurrency": 16}),
            bench.tier(served, "other", model="small", **ROOMY),
        ]
        rows = [{"text": f"bad {n}"} for n in range(50)] + [{"text": str(n)} for n in range(300)]
        job = bench.submit(tiers, rows, chunk_rows=10)
        over = threading.Event()

        def add() -> int:
            engine = make_engine(bench.database_url, pooled=True)
            added = 0
            while not over.is_set():
                control.raise_budget(engine, job, 1, bench.messages, actor=None)
                added += 1
            engine.dispose()
            return added

        def retry() -> int:
            engine = make_engine(bench.database_url, pooled=True)
            added = 0
            while not over.is_set():
                added += retry_failed(engine, job, bench.messages, add_nanousd=1).rows > 0
            engine.dispose()
            return added

        adders = [asyncio.ensure_future(asyncio.to_thread(act)) for act in (add, add, retry)]
        async with bench.worker(tiers) as one, bench.worker(tiers) as two:
            await asyncio.gather(one.drive(), two.drive())
            over.set()
            added = sum(await asyncio.gather(*adders))
            await bench.finish(job, one)
    assert added > 10
    status = bench.status(job)
    assert status["budget_nanousd"] == 10**12 + added
    assert status["rows"]["answered"] == 300
    deadlocks = bench.one(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0
    assert bench.audit(job).is_ok


async def test_a_pause_during_planning_comes_before_or_after_it_and_holds(bench: Bench):
    choosy = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
    async with provider(small=choosy, large=choosy) as served:
        tiers = [bench.tier(served, name, **ROOMY) for name in ("small", "large")]
        async with bench.worker(tiers) as worker:
            for _ in range(5):
                job = bench.submit(tiers, 30, output={"choices": ["a", "b"]})
                await worker.drive()
                planned, paused = await asyncio.gather(
                    asyncio.to_thread(bench.plan, job),
                    asyncio.to_thread(control.pause_job, bench.engine, job),
                    return_exceptions=True,
                )
                if isinstance(paused, UsageError):
                    assert planned.finished
                else:
                    assert bench.state(job) == "paused"


async def test_rows_that_failed_get_another_chance(bench: Bench):
    faults = [
        {"kind": "bad_request", "first": 1, "match": "row 3$"},
        {"kind": "reset", "first": 3, "match": "row 5$"},
    ]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 8)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            assert bench.status(job)["rows"]["failed"] == 2
            assert retry_failed(bench.engine, job, bench.messages).rows == 2
            status = bench.status(job)
            assert status["status"] == "running"
            assert status["rows"]["failed"] == 0
            assert status["rows"]["pending"] == 2
            await bench.finish(job, worker)
    assert bench.status(job)["rows"] == {
        "total": 8, "answered": 8, "failed": 0, "pending": 0, "unfunded": 0
    }  # fmt: skip
    assert [r.answer for r in bench.results(job)] == [f"row {n}" for n in range(8)]
    assert bench.audit(job).is_ok


async def test_a_failed_job_goes_on_when_the_key_is_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("LATE_KEY", raising=False)
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY, api_key_env="LATE_KEY")]
        job = bench.submit(tiers, 8)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            assert bench.state(job) == "failed"
            assert "LATE_KEY" in bench.status(job)["reason"]
            assert served.bill()["calls_total"] == 0
            monkeypatch.setenv("LATE_KEY", "right")
            control.resume_job(bench.engine, job, bench.messages)
            assert bench.status(job)["reason"] is None
            await bench.finish(job, worker)
    assert bench.status(job)["rows"]["answered"] == 8


async def test_resume_finds_nothing_to_do_in_a_job_that_is_done(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 5)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
            calls = served.bill()["calls_total"]
            assert control.resume_job(bench.engine, job, bench.messages).state == "finished"
            assert bench.state(job) == "finished"
            # New money is a reason to look again.
            control.raise_budget(bench.engine, job, 1, bench.messages, actor=None)
            assert control.resume_job(bench.engine, job, bench.messages).state == "running"
            await bench.finish(job, worker)
            assert served.bill()["calls_total"] == calls
    assert bench.state(job) == "finished"


HOSTILE_NAMES = [
    'quote"; DROP SCHEMA cascade_store CASCADE; --',
    "apostrophe's; SELECT 1",
    "ümläut 行 🎈",
    "x" * 63,
    "percent %s {braces} \\ backslash",
    "answer",
]
HOSTILE_COLUMNS = [
    "answer", "tier", "row_no", 'q"; DROP TABLE x; --', "a'b", "ünï çode", "x" * 80, "x" * 79 + "y",
    "", " ", "%s", "{}", "input_answer", "select",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_hostile_names_are_columns_of_a_view_and_gone_after_delete(bench: Bench, name: str):
    row = {column: f"value {n}" for n, column in enumerate(HOSTILE_COLUMNS)}
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, [{"text": "hello", **row}], name=name)
        job_id = bench.job_id(job)
        await bench.run(job, tiers)
    view = '"' + name.replace('"', '""').replace("%", "%%") + '"'
    with bench.engine.connect() as connection:
        (found,) = connection.exec_driver_sql(f"SELECT * FROM results.{view}").mappings()
    assert found["answer"] == "hello"
    assert found["tier"] == "small"
    assert found["status"] == "answered"
    assert {f"value {n}" for n in range(len(HOSTILE_COLUMNS))} <= set(found.values())
    with pytest.raises(JobExistsError):
        bench.submit(tiers, 1, name=name)
    control.delete_job(bench.engine, name)
    left = bench.all(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE (nspname = 'results' AND relname = :name) OR (nspname = 'cascade_store'"
        " AND relname IN (:r, :a, :c))",
        name=name, r=f"row_{job_id}", a=f"answer_{job_id}", c=f"choice_{job_id}",
    )  # fmt: skip
    assert left == []
    for table in ("job", "balance", "job_tier", "chunk", "entry", "row", "answer", "choice"):
        assert not bench.one(
            f"SELECT count(*) FROM cascade_store.{table} WHERE job_id = :job", job=job_id
        )
    with pytest.raises(JobNotFoundError):
        control.delete_job(bench.engine, name)
    # The name is free again.
    bench.submit([bench.tier(None, "none", base_url="http://127.0.0.1:1")], 1, name=name)
    control.cancel_job(bench.engine, name)
    control.delete_job(bench.engine, name)


async def test_only_a_job_at_rest_is_deleted(bench: Bench):
    async with provider(small=SLOW) as served:
        tiers = [bench.tier(served, "small", **ROOMY, limits={"concurrency": 2})]
        job = bench.submit(tiers, 40)
        async with bench.worker(tiers) as worker:
            drive = asyncio.create_task(worker.drive())
            await until(lambda: served.bill()["calls_total"] >= 3)
            with pytest.raises(UsageError, match="running"):
                await asyncio.to_thread(control.delete_job, bench.engine, job)
            await asyncio.to_thread(control.cancel_job, bench.engine, job)
            await drive
        control.delete_job(bench.engine, job)
    with pytest.raises(JobNotFoundError):
        bench.status(job)
