"""`cascade-batch flower`: watch queues, workers and tasks in a browser."""

from __future__ import annotations

import os
import sys

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.services import running_settings


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5555, show_default=True, help="Listen here."
)
def flower(host: str, port: int) -> None:
    """Serve Flower, which shows the machinery: queues, workers, tasks.

    Flower's own settings are read from FLOWER_… variables; set FLOWER_BASIC_AUTH=user:password
    before it listens on any address but this machine's.
    """
    ready = running_settings()
    environment = {
        **os.environ,
        "CASCADE_DATABASE_URL": ready.database_url or "",
        "CASCADE_REDIS_URL": ready.redis_url or "",
    }
    say(f"Flower listens on http://{host}:{port}")
    # Flower takes the process over, so that signals reach it; URLs go by the environment, as
    # everybody on the machine can read arguments.
    command = [sys.executable, "-m", "celery", "--app", "workers.app", "flower"]
    os.execve(  # noqa: S606  # no shell is wanted
        sys.executable, [*command, f"--address={host}", f"--port={port}"], environment
    )
