"""Deleting a job while others use the tables that all jobs share: it waits, and goes on where it stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from cascade_batch.client.reading import read_audit
from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.row import Record
from cascade_batch.engine import control
from cascade_batch.engine.retry import retry_failed
from cascade_batch.engine.submit import submit_job
from cascade_batch.errors import CascadeError, JobNotFoundError, UsageError
from cascade_batch.ledger import Selection
from cascade_batch.store import partitions
from tests.integration.engine.bench import Bench, provider

WORDS = [{"text": "good"}, {"text": "bad"}]
REFUSES = [{"kind": "bad_request", "match": "bad"}]


async def finished(bench: Bench, name: str) -> None:
    async with provider(small=True, faults=REFUSES) as served:
        tiers = [bench.tier(served, "small")]
        bench.submit(tiers, WORDS, name=name)
        await bench.run(name, tiers)


async def test_a_job_is_deleted_while_the_rows_of_another_are_being_stored(bench: Bench):
    await finished(bench, "old")
    stored, go_on = threading.Event(), threading.Event()

    def slow(*, check: Callable[[Record], None]) -> Iterator[Record]:
        for line_no in (1, 2):
            record = Record(custom_id=None, line_no=line_no, fields={"text": "x"})
            check(record)
            yield record
            stored.set()
            go_on.wait()

    spec = JobSpec.model_validate(
        {
            "name": "new",
            "data": "rows.jsonl",
            "budget_nanousd": 10**12,
            "prompt": "{{ text }}",
            "tiers": (bench.tier(None, "small", base_url="http://127.0.0.1:9/v1"),),
        }
    )
    submission = asyncio.ensure_future(asyncio.to_thread(submit_job, bench.engine, spec, slow))
    await asyncio.to_thread(stored.wait)
    try:
        await asyncio.to_thread(control.delete_job, bench.engine, "old")
    finally:
        go_on.set()
        await submission
    with pytest.raises(JobNotFoundError):
        bench.status("old")
    assert bench.status("new")["rows"]["total"] == 2
    assert bench.one('SELECT count(*) FROM results."new"') == 2


@pytest.fixture
def reading(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Connection]:
    """Somebody who has read the tables of all jobs, and keeps a transaction open."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", 0.1)
    with bench.engine.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM cascade.rows"))
        yield connection


async def test_a_deletion_that_was_broken_off_can_only_go_on(bench: Bench, reading: sa.Connection):
    await finished(bench, "it's old")
    with pytest.raises(CascadeError, match="Others have been using the tables") as found:
        control.delete_job(bench.engine, "it's old")
    assert "goes on from where it stopped" in found.value.hint

    status = bench.status("it's old")
    assert status["status"] == "finished"
    assert "being deleted; cascade-batch delete 'it'\"'\"'s old' goes on" in status["reason"]
    bench.one('SELECT count(*) FROM results."it\'s old"')
    refused: list[Callable[[], Any]] = [
        lambda: control.resume_job(bench.engine, "it's old", bench.messages),
        # What is gone already is no difference between the ledger and the rows.
        lambda: read_audit(bench.engine, "it's old"),
        lambda: control.pause_job(bench.engine, "it's old"),
        lambda: control.cancel_job(bench.engine, "it's old"),
        lambda: control.raise_budget(bench.engine, "it's old", 5, bench.messages, actor=None),
        lambda: retry_failed(bench.engine, "it's old", bench.messages),
        lambda: control.reconcile(
            bench.engine, "it's old", Selection(), bench.messages, actor="me", reason="invoice"
        ),
    ]
    for change in refused:
        with pytest.raises(UsageError, match="is being deleted") as error:
            change()
        assert "cascade-batch delete" in error.value.hint
    assert bench.status("it's old") == status

    reading.rollback()
    control.delete_job(bench.engine, "it's old")
    with pytest.raises(JobNotFoundError):
        bench.status("it's old")
    assert bench.all("SELECT relname FROM pg_class WHERE relname = 'it''s old'") == []


async def test_a_deletion_that_was_broken_off_holds_up_no_other(
    bench: Bench, reading: sa.Connection
):
    await finished(bench, "first")
    await finished(bench, "second")
    with pytest.raises(CascadeError):
        control.delete_job(bench.engine, "first")

    reading.rollback()
    control.delete_job(bench.engine, "second")
    control.delete_job(bench.engine, "first")
    assert bench.all("SELECT name FROM cascade_store.job WHERE name IN ('first', 'second')") == []
