"""`cascade-batch down`: stop the embedded stack."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.settings import settings


@click.command(cls=Command)
def down() -> None:
    """Stop the embedded stack: calls in flight settle, jobs wait for the next start.

    \b
    Example:
      cascade-batch down
    """
    from cascade_batch.local.stack import stop_stack

    given = settings()
    if not given.is_embedded:
        say("CASCADE_DATABASE_URL and CASCADE_REDIS_URL are set: there is nothing to stop.")
    elif stop_stack(given):
        say("The embedded stack is stopped.")
    else:
        say("The embedded stack does not run.")
