"""Whoever changes a job's tiers locks its balance first, as workers' turns do: then none waits for another
that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from cascade_batch.engine import control
from cascade_batch.engine.retry import retry_failed
from tests.integration.engine.bench import Bench, provider, until

TEXTS = [{"text": text} for text in ("good", "bad", "good", "later", "later")]
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def cancel(bench: Bench, job: str) -> Any:
    return control.cancel_job(bench.engine, job)


def resume(bench: Bench, job: str) -> Any:
    return control.resume_job(bench.engine, job, bench.messages)


def retry_all(bench: Bench, job: str) -> Any:
    return retry_failed(bench.engine, job, bench.messages, add_nanousd=5)


def retry_some(bench: Bench, job: str) -> Any:
    return retry_failed(bench.engine, job, bench.messages, reason="refused", add_nanousd=5)


@pytest.mark.parametrize("change", [cancel, resume, retry_all, retry_some])
async def test_a_change_during_a_turn_waits_for_the_turn_to_end(
    bench: Bench, change: Callable[[Bench, str], Any]
):
    faults = [{"kind": "bad_request", "match": "bad"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small"), bench.tier(served, "large", model="small")]
        job = bench.submit(tiers, TEXTS, cache=True, chunk_rows=1)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
    if change is resume:
        control.pause_job(bench.engine, job)
    key = {"job": bench.job_id(job)}
    with bench.engine.begin() as turn:
        turn.execute(
            sa.text("SELECT FROM cascade_store.balance WHERE job_id = :job FOR UPDATE"), key
        )
        changed = asyncio.ensure_future(asyncio.to_thread(change, bench, job))
        await until(lambda: changed.done() or bench.one(WAITING) > 0)
        assert not changed.done()
        turn.execute(
            sa.text("UPDATE cascade_store.job_tier SET calls = calls WHERE job_id = :job"), key
        )
    await changed
    assert bench.audit(job).differences == []
