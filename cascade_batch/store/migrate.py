"""Bring a database to this version's schema. Guarded: one at a time, and never waiting behind a lock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from cascade_batch.errors import CascadeError, UsageError

_ADVISORY_LOCK = 0x6361736361646500
_LOCK_TIMEOUT = "10s"
"""A migration that waits for a lock makes everybody else wait behind it: give up instead."""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """`current` is None in an empty database."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether the database is at this version's schema."""
        return self.current == self.head


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise CascadeError(
        "The migrations are missing from this installation.",
        hint="Install cascade-batch again.",
    )


@lru_cache(maxsize=1)
def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


@lru_cache(maxsize=1)
def _head() -> str:
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def schema_version(connection: sa.Connection) -> SchemaVersion:
    """The database's version and this package's."""
    context = MigrationContext.configure(
        connection,
        opts={"version_table": "cascade_batch_version", "version_table_schema": "public"},
    )
    return SchemaVersion(context.get_current_revision(), _head())


def upgrade(engine: sa.Engine) -> SchemaVersion:
    """Upgrade to this version's schema; does nothing if that is reached already.

    Returns:
        The version before the upgrade.

    Raises:
        CascadeError: A lock could not be had in time.
        UsageError: The database was migrated by a newer version of the package.
    """
    with engine.connect() as connection:
        before = schema_version(connection)
        connection.rollback()
        if before.is_current:
            return before
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        before = schema_version(connection)
        if before.is_current:
            return before
        known = {s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions()}
        if before.current is not None and before.current not in known:
            raise UsageError(
                f"The database is at schema {before.current}, which this version does not know.",
                hint="Install the newest cascade-batch on this machine.",
            )
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
            connection.commit()
        except sa.exc.OperationalError as error:
            raise CascadeError(
                f"The migration could not get its locks within {_LOCK_TIMEOUT}.",
                hint="Stop the workers, then run `cascade-batch db upgrade` again.",
            ) from error
        finally:
            config.attributes.pop("connection", None)
    return before


def require_current(connection: sa.Connection) -> None:
    """Refuse to work on another version's schema.

    Raises:
        UsageError: The schema is missing, older or newer.
    """
    version = schema_version(connection)
    if not version.is_current:
        raise UsageError(
            "The database has no cascade-batch schema."
            if version.current is None
            else f"The database is at schema {version.current}; this version needs {version.head}.",
            hint="Run `cascade-batch db upgrade`.",
        )
