"""Starting a Celery worker for some tiers, or for the control queue."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from celery import Celery

from cascade_batch.dispatch.app import CONTROL_QUEUE
from cascade_batch.dispatch.tasks import TIERS_VARIABLE
from cascade_batch.monitoring.logs import set_up_logging
from cascade_batch.settings import settings


def run_worker(
    app: Celery,
    *,
    tiers: Sequence[str],
    control: bool,
    concurrency: int,
    name: str | None = None,
    log_level: str = "INFO",
) -> None:
    """Run a worker until it is stopped. Its name in Flower is the tiers' that it serves.

    Args:
        concurrency: Worker processes. Each keeps as many calls in flight as the tiers' limits let it.
    """
    queues = [f"tier.{tier}" for tier in tiers] + ([CONTROL_QUEUE] if control else [])
    label = "+".join([*tiers, *(["control"] if control else [])])
    # Celery asks for it as well, but warns of some things before that.
    set_up_logging(level=log_level, log_format=settings().log_format)
    os.environ[TIERS_VARIABLE] = ",".join(tiers)
    app.worker_main(
        [
            # The banner is for people.
            *(["--quiet"] if settings().log_format == "json" else []),
            "worker",
            "--queues=" + ",".join(queues),
            "--hostname=" + (name or re.sub(r"[^\w.+-]", "_", label) + "@%h"),
            f"--concurrency={concurrency}",
            f"--loglevel={log_level}",
            # Mingle waits a second at the start to compare revoked tasks, which are not used here.
            "--without-mingle",
            "--without-gossip",
        ]
    )
