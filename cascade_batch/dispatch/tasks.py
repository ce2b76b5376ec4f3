"""The tasks. Names and arguments are what people see in Flower."""

from __future__ import annotations

import os
from functools import lru_cache

import sqlalchemy as sa
from celery import current_app, shared_task, signals

from cascade_batch.dispatch.app import PLAN_JOB, RUN_CHUNK
from cascade_batch.dispatch.at_work import at_work
from cascade_batch.dispatch.observing import close_observer, observed_plan, observer
from cascade_batch.dispatch.publisher import CeleryPublisher
from cascade_batch.dispatch.runtime import WorkerRuntime, begin_shutdown
from cascade_batch.domain.counting import counted
from cascade_batch.engine.plan import plan_job as plan
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.errors import JobNotFoundError
from cascade_batch.monitoring.logs import bound
from cascade_batch.settings import settings
from cascade_batch.store.engine import make_engine

TIERS_VARIABLE = "CASCADE_WORKER_TIERS"
"""Set by `cascade-batch worker`: a task serves all tiers that its worker serves."""


@lru_cache(maxsize=1)
def _publisher() -> CeleryPublisher:
    return CeleryPublisher(current_app._get_current_object())


@lru_cache(maxsize=1)
def _runtime() -> WorkerRuntime:
    return WorkerRuntime(settings(), _publisher(), observer())


@lru_cache(maxsize=1)
def _engine() -> sa.Engine:
    return make_engine(settings().database_url or "", pooled=True)


@shared_task(name=RUN_CHUNK)
def run_chunk(*, job: str, tier: str, chunk: int, rows: str) -> str:
    """Drive the worker's tiers; the message's chunk is what woke it, and comes in its turn."""
    served = os.environ.get(TIERS_VARIABLE)
    with at_work():
        summary = _runtime().drive(served.split(",") if served else [tier])
        if summary.slice_over:
            again = ChunkNotice(chunk_id=chunk, job=job, tier=tier, rows=rows)
            _publisher().publish_chunks([again])
    if not summary.calls:
        return "nothing left to do"
    return f"{counted(summary.chunks, 'chunk')} done, {counted(summary.calls, 'call')}"


# A planner that dies (of memory, say) would die of the same message at once, and again: the sweeper
# asks once more, and takes its time.
@shared_task(name=PLAN_JOB, reject_on_worker_lost=False)
def plan_job(*, job: str) -> str:
    """Release the job's next wave, or finish it."""
    try:
        with at_work(), bound(job=job), observed_plan(job) as seen:
            planned = seen.planned = plan(_engine(), job, _publisher())
    except JobNotFoundError:
        return "deleted"
    if planned is None:
        return "nothing to decide"
    return (
        "finished"
        if planned.finished
        else f"wave {planned.wave}: {counted(planned.purchases, 'purchase')}"
    )


@signals.worker_shutting_down.connect
def _shutting_down(**_: object) -> None:
    begin_shutdown()


@signals.worker_process_shutdown.connect
def _process_shutdown(**_: object) -> None:
    try:
        if _runtime.cache_info().currsize:
            _runtime().close()
    finally:
        close_observer()
