"""`cascade-batch db`: the database's schema."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Group, say
from cascade_batch.client.services import database, running_settings


@click.group(cls=Group)
def db() -> None:
    """Look after the database."""


@db.command(short_help="Bring the database to this version.")
def upgrade() -> None:
    """Bring the database to this version's schema; does nothing if it is there already.

    \b
    Example:
      cascade-batch db upgrade
    """
    from cascade_batch.store import migrate

    ready = running_settings()
    with database(ready) as engine:
        before = migrate.upgrade(engine)
    if before.is_current:
        say(f"The database is at schema {before.head} already.")
    else:
        say(f"The database is at schema {before.head} now (before: {before.current or 'empty'}).")
