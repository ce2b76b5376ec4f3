"""A worker's logs, figures and spans: who makes them, in its main process and in its children.

The socket for figures is made before the children are forked, what listens to it after that. The rest is
made in each child at its first task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache

from billiard.util import get_logger as get_pool_logger
from celery import signals

from cascade_batch.engine.plan import Planned
from cascade_batch.monitoring.channel import Channel, Shipper
from cascade_batch.monitoring.logs import set_up_logging
from cascade_batch.monitoring.meter import Meter
from cascade_batch.monitoring.observer import Observer
from cascade_batch.monitoring.tracing import tracing_from_environment
from cascade_batch.settings import settings

_channel: Channel | None = None
_served = ExitStack()


@lru_cache(maxsize=1)
def observer() -> Observer:
    """This process's."""
    shipper = None if _channel is None else Shipper(Meter(), _channel)
    return Observer(shipper, tracing_from_environment())


def close_observer() -> None:
    """The process ends: send what is left."""
    if observer.cache_info().currsize:
        observer().close()


@dataclass(slots=True)
class SeenPlan:
    """What became of a call of the planner; None: nothing was decided."""

    planned: Planned | None = None


@contextmanager
def observed_plan(job: str) -> Iterator[SeenPlan]:
    """Note what a call of the planner took, and what came of it."""
    seen = SeenPlan()
    began = time.monotonic()
    outcome = "failed"
    try:
        yield seen
        outcome = "nothing"
    finally:
        purchases = 0
        if seen.planned is not None:
            outcome = "finished" if seen.planned.finished else "wave"
            purchases = seen.planned.purchases
        observer().planned(job, outcome, time.monotonic() - began, purchases)


@signals.setup_logging.connect
def _set_up_logging(loglevel: int | str | None = None, **_: object) -> None:
    """Celery leaves logging alone where somebody answers this."""
    set_up_logging(level=loglevel or "INFO", log_format=settings().log_format)
    # The pool says there whose child died, and would say it in a format of its own.
    get_pool_logger().propagate = True
    if logging.getLogger().level == logging.INFO:
        # A task is no news: what it did is said chunk by chunk, and Flower shows the rest.
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect
def _before_the_fork(**_: object) -> None:
    global _channel
    if settings().metrics_port is not None:
        _channel = Channel()


@signals.worker_ready.connect
def _after_the_fork(**_: object) -> None:
    if _channel is not None:
        from cascade_batch.monitoring.exporter import worker_metrics

        _served.enter_context(worker_metrics(settings(), _channel))


@signals.worker_shutdown.connect
def _at_the_end(**_: object) -> None:
    _served.close()
