"""`cascade-batch flower`: watch queues, workers and tasks in a browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.client.services import running_settings
from cascade_batch.errors import UsageError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PASSWORDS = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5555,
    show_default=True,
    help="Listen on this port.",
)
@click.pass_context
def flower(ctx: click.Context, host: str, port: int) -> None:
    """Serve Flower, which shows the machinery: queues, workers, tasks.

    It hears of tasks while it runs: start it before the job. Jobs that are over are shown by status.

    Flower's own settings are read from FLOWER_… variables; set FLOWER_BASIC_AUTH=user:password
    for it to listen on any address but this machine's. What it has seen is kept in CASCADE_HOME,
    so that it is there again after a restart.

    \b
    Examples:
      cascade-batch flower
      cascade-batch flower --port 5556
    """
    if host not in _LOOPBACK and not any(os.environ.get(name) for name in _PASSWORDS):
        raise UsageError(
            f"Flower can stop workers and revoke tasks: to listen on {host}, it needs a password.",
            hint="Set FLOWER_BASIC_AUTH=user:password.",
        )
    _require_port(host, port)
    ready = running_settings()
    ready.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "CASCADE_DATABASE_URL": ready.database_url or "",
        "CASCADE_REDIS_URL": ready.redis_url or "",
    }
    say(f"Flower listens on http://{host}:{port}")
    say("It lists tasks from now on; of jobs that ran before:  cascade-batch status JOB")
    # URLs go by the environment, as everybody on the machine can read arguments. A child, not our
    # successor: while this process lives, the embedded stack stays.
    command = [sys.executable, "-m", "celery", "--app", "workers.app", "flower"]
    process = subprocess.Popen(
        [
            *command,
            f"--address={host}",
            f"--port={port}",
            "--persistent=True",
            f"--db={ready.home / 'flower'}",
            "--state_save_interval=10000",
            # What a task is about stands in its arguments: job, tier, chunk, rows.
            "--tasks_columns=name,kwargs,state,result,received,runtime,worker",
        ],
        env=environment,
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the terminal has told the child as well
        code = process.wait()
    ctx.exit(max(code, 0))


def _require_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"Flower can't listen on {host}:{port}: {error.strerror or error}.",
            hint=f"Take another port, for example: cascade-batch flower --port {port + 1}",
        ) from None
