"""`cascade-batch sweeper`: find what nobody works on."""

from __future__ import annotations

import logging
import signal
import threading

import click

from cascade_batch.cli.frame import Command
from cascade_batch.client.services import own_settings

logger = logging.getLogger(__name__)


@click.command(cls=Command)
def sweeper() -> None:
    """Free what dead workers held, wake idle ones and finish jobs, until stopped.

    \b
    Example:
      cascade-batch sweeper
    """
    ready = own_settings()
    from cascade_batch.dispatch.app import make_app
    from cascade_batch.dispatch.publisher import CeleryPublisher
    from cascade_batch.engine.sweep import run_sweeper
    from cascade_batch.monitoring.logs import set_up_logging

    set_up_logging(log_format=ready.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logger.info("The sweeper runs.")
    run_sweeper(ready.database_url or "", CeleryPublisher(make_app(ready.redis_url or "")), stop)
