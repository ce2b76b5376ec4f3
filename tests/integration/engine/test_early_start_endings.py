"""Who reads a data set while it is drafted, and is stopped, is gone, or gives up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.row import Record
from cascade_batch.engine import batches, control
from cascade_batch.engine.early_start import submit_early
from cascade_batch.engine.half_read import READERS
from cascade_batch.engine.sweep import sweep_once
from cascade_batch.errors import JobNotFoundError, UsageError
from cascade_batch.store.engine import make_engine
from tests.integration.engine.bench import Bench, Messages, provider, until
from tests.integration.engine.pipe import Pipe, spec_of


@pytest.fixture(autouse=True)
def _hasty(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_S", 0.02)
    bench.execute("UPDATE cascade_store.job_tier SET fingerprint = NULL")


async def test_a_job_that_is_cancelled_is_read_no_further(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of("unwanted", tiers))
    pipe.put("one")
    await pipe.stored(1)
    control.cancel_job(bench.engine, "unwanted")
    # Although nothing comes down the pipe any more.
    with pytest.raises(UsageError, match="was cancelled while its data set was being read"):
        await pipe.submission
    assert bench.status("unwanted")["reason"] == "cancelled by the user"
    control.delete_job(bench.engine, "unwanted")


async def test_a_job_that_fails_is_read_no_further(bench: Bench):
    refuses = [{"kind": "unauthorized"}]
    async with provider(small=True, faults=refuses) as served:
        tiers = [bench.tier(served, "small")]
        pipe = Pipe(bench, spec_of("refused", tiers))
        pipe.put("one")
        await pipe.stored(1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        reason = bench.status("refused")["reason"]
        with pytest.raises(
            UsageError, match="has failed while its data set was being read"
        ) as found:
            await pipe.submission
    assert reason in found.value.message
    assert (bench.state("refused"), bench.status("refused")["reason"]) == ("failed", reason)
    with pytest.raises(UsageError, match="has failed and holds only"):
        control.resume_job(bench.engine, "refused", bench.messages)


async def test_a_job_that_is_deleted_while_it_is_read_is_gone(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of("thrown away", tiers))
    pipe.put("one")
    await pipe.stored(1)
    job_id = bench.job_id("thrown away")
    control.pause_job(bench.engine, "thrown away")
    # As `delete` does before it drops the first table.
    bench.execute("UPDATE cascade_store.job SET deleting = true WHERE job_id = :job", job=job_id)
    with pytest.raises(JobNotFoundError, match="was deleted while its data set was being read"):
        await pipe.submission
    sweep_once(bench.engine, bench.messages)
    assert bench.state("thrown away") == "paused"
    control.delete_job(bench.engine, "thrown away")
    assert bench.one("SELECT count(*) FROM cascade_store.job WHERE job_id = :job", job=job_id) == 0


@pytest.mark.parametrize("when", ["between rows", "while rows are stored"])
async def test_a_connection_that_is_lost_ends_the_job(bench: Bench, when: str):
    name = f"cut off {when}"
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of(name, tiers))
    pipe.put("one")
    await pipe.stored(1)
    job_id = bench.job_id(name)
    with bench.engine.begin() as other:
        if when == "while rows are stored":
            other.execute(
                sa.text(f"LOCK TABLE cascade_store.row_{job_id} IN ACCESS EXCLUSIVE MODE")
            )
            pipe.put("two")
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
            await until(lambda: bench.one(waits) > 0)
        bench.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND classid = :space AND objid = :job",
            space=READERS,
            job=job_id,
        )
        # Of the driver below, too: whoever submits tells both as a database that can't be reached.
        with pytest.raises((OperationalError, psycopg.OperationalError)):
            await pipe.submission

    def swept() -> bool:
        sweep_once(bench.engine, bench.messages)
        return bench.state(name) == "cancelled"

    await until(swept)
    assert bench.status(name)["rows"]["total"] == 1


def _read_for_ever(database_url: str, spec: JobSpec) -> None:
    def read(*, check: Callable[[Record], None]) -> Iterator[Record]:
        record = Record(custom_id=None, line_no=1, fields={"text": "one"})
        check(record)
        yield record
        threading.Event().wait()

    submit_early(make_engine(database_url), spec, read, Messages())


async def test_a_killed_submitter_is_noticed_and_no_living_one_is_taken_for_dead(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    spec = spec_of("orphan", tiers)
    submitter = multiprocessing.get_context("spawn").Process(
        target=_read_for_ever, args=(bench.database_url, spec)
    )
    submitter.start()
    try:
        count = "SELECT count(*) FROM cascade_store.job WHERE name = 'orphan'"
        await until(lambda: bench.one(count) == 1)
        sweep_once(bench.engine, bench.messages)
        assert bench.state("orphan") == "queued"
        os.kill(submitter.pid or 0, signal.SIGKILL)
        submitter.join()

        def swept() -> bool:
            sweep_once(bench.engine, bench.messages)
            return bench.state("orphan") == "cancelled"

        await until(swept)
    finally:
        submitter.kill()
    assert "ended after 1 row: its submitter was killed" in bench.status("orphan")["reason"]
    with pytest.raises(UsageError, match="only the first 1 row "):
        control.resume_job(bench.engine, "orphan", bench.messages)
    control.delete_job(bench.engine, "orphan")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "1 row: it was interrupted."),
        (ValueError("401 for https://example.com/?key=secret"), "1 row: it raised ValueError."),
    ],
)
def test_why_reading_ended_is_said_without_secrets(bench: Bench, error: BaseException, said: str):
    name = f"ends by {type(error).__name__}"
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    has_begun = threading.Event()

    def read(*, check: Callable[[Record], None]) -> Iterator[Record]:
        record = Record(custom_id=None, line_no=1, fields={"text": "one"})
        check(record)
        yield record
        has_begun.wait()
        raise error

    with pytest.raises(type(error)) as raised:
        submit_early(
            bench.engine,
            spec_of(name, tiers),
            read,
            bench.messages,
            on_start=lambda _: has_begun.set(),
        )
    status = bench.status(name)
    assert status["status"] == "cancelled"
    assert said in status["reason"]
    assert "secret" not in status["reason"]
    assert "taken over at no cost" in raised.value.__notes__[0]
