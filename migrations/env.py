"""Alembic's environment. The upgrade itself is guarded in `cascade_batch.store.migrate`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import engine_from_config, pool

from cascade_batch.store.engine import sqlalchemy_url
from cascade_batch.store.tables import METADATA, belongs_to_the_models

VERSION_TABLE_SCHEMA = "public"
VERSION_TABLE = "cascade_batch_version"


def run(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_schemas=True,
        include_object=belongs_to_the_models,
        version_table=VERSION_TABLE,
        version_table_schema=VERSION_TABLE_SCHEMA,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    from cascade_batch.settings import settings

    section = {"sqlalchemy.url": sqlalchemy_url(settings().database_url or "")}
    with engine_from_config(section, poolclass=pool.NullPool).connect() as opened:
        run(opened)
