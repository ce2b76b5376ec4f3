"""`cascade-batch up`: start the embedded stack."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.client.services import running_settings
from cascade_batch.settings import settings


@click.command(cls=Command)
def up() -> None:
    """Start the embedded stack: Postgres, Valkey, and workers when there is work.

    Other commands do so by themselves. It stops by `down`, or when nobody needed it for a while.

    \b
    Example:
      cascade-batch up
    """
    given = settings()
    if not given.is_embedded:
        say("CASCADE_DATABASE_URL and CASCADE_REDIS_URL are set: there is nothing to start.")
        return
    running_settings()
    say(
        f"The embedded stack runs in {given.home}."
        f" It stops when nobody needed it for {given.idle_stop_s / 60:.0f} minutes."
    )
