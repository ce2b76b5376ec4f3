"""The migrations make what the models say, once, whoever runs them and how often."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import cascade_batch.store.notification_tables  # noqa: F401 - its tables belong to METADATA
from cascade_batch.errors import UsageError
from cascade_batch.store import migrate
from cascade_batch.store.engine import make_engine
from cascade_batch.store.migrate import require_current, schema_version, upgrade
from cascade_batch.store.tables import METADATA, belongs_to_the_models


def differences(engine: sa.Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_object": belongs_to_the_models,
                "version_table": "cascade_batch_version",
                "version_table_schema": "public",
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, METADATA))


def test_the_migrated_schema_is_that_of_the_models(empty_database: str):
    engine = make_engine(empty_database)
    assert upgrade(engine).current is None
    assert differences(engine) == []
    with engine.connect() as connection:
        require_current(connection)
        assert schema_version(connection).is_current
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE cascade_store.job ADD COLUMN surprise text",
        "ALTER TABLE cascade_store.chunk DROP COLUMN published_at",
        "ALTER TABLE cascade_store.chunk ALTER COLUMN row_count TYPE smallint",
        "ALTER TABLE cascade_store.job ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE cascade_store.job ALTER COLUMN state SET DEFAULT 'paused'",
        "DROP INDEX cascade_store.chunk_open_idx",
        "CREATE TABLE cascade_store.surprise (x integer)",
    ],
)
def test_what_the_migrations_would_miss_is_seen(fresh_database: str, change: str):
    engine = make_engine(fresh_database)
    with engine.begin() as connection:
        connection.exec_driver_sql(change)
        try:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "include_object": belongs_to_the_models,
                    "compare_type": True,
                    "compare_server_default": True,
                },
            )
            assert compare_metadata(context, METADATA) != []
        finally:
            connection.rollback()
    engine.dispose()


def test_an_upgrade_may_be_repeated(empty_database: str):
    engine = make_engine(empty_database)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO cascade_store.heartbeat (part) VALUES ('kept')")
    assert upgrade(engine).is_current
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT part FROM cascade_store.heartbeat").all()
    engine.dispose()


def test_processes_that_upgrade_at_once_take_turns(empty_database: str):
    code = (
        "import sys; from cascade_batch.store.engine import make_engine;"
        " from cascade_batch.store.migrate import upgrade;"
        " print(upgrade(make_engine(sys.argv[1])).current)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_database], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    found = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    # One of them found an empty database; the others what it made.
    assert found.count("None") >= 1
    engine = make_engine(empty_database)
    assert upgrade(engine).is_current
    assert differences(engine) == []
    engine.dispose()


def test_a_downgrade_leaves_nothing_and_can_be_undone(empty_database: str):
    engine = make_engine(empty_database)
    upgrade(engine)
    with engine.connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        try:
            command.downgrade(config, "base")
        finally:
            config.attributes.pop("connection")
        connection.commit()
        schemas = connection.exec_driver_sql(
            "SELECT nspname FROM pg_namespace WHERE nspname IN ('cascade', 'cascade_store', 'results')"
        ).all()
    assert schemas == []
    upgrade(engine)
    assert differences(engine) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(empty_database: str):
    engine = make_engine(empty_database)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE cascade_batch_version SET version_num = '9999'")
    with pytest.raises(UsageError, match="9999"):
        upgrade(engine)
    with engine.connect() as connection, pytest.raises(UsageError, match="9999"):
        require_current(connection)
    engine.dispose()


def test_a_database_without_a_schema_says_how_to_get_one(empty_database: str):
    engine = make_engine(empty_database)
    with (
        engine.connect() as connection,
        pytest.raises(UsageError, match="no cascade-batch") as found,
    ):
        require_current(connection)
    assert "db upgrade" in found.value.hint
    engine.dispose()


def test_jobs_of_an_older_schema_get_what_they_lack(empty_database: str):
    engine = make_engine(empty_database)
    with engine.connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "0001")
            connection.exec_driver_sql(
                "INSERT INTO cascade_store.job (name, spec) VALUES ('older', '{}')"
            )
            job_id = connection.exec_driver_sql("SELECT job_id FROM cascade_store.job").scalar_one()
            for table in ("row", "answer", "choice"):
                connection.exec_driver_sql(
                    f"CREATE TABLE cascade_store.{table}_{job_id}"
                    f" PARTITION OF cascade_store.{table} FOR VALUES IN ({job_id})"
                )
            command.upgrade(config, "0003")
            connection.exec_driver_sql(
                "INSERT INTO cascade_store.verdict (job_id, row_no, tier_no, judge_tier_no,"
                " cost_nanousd, latency_ms, chunk_id)"
                " SELECT job_id, 0, 0, 1, 5, 1, 1 FROM cascade_store.job"
            )
            command.downgrade(config, "0002")
            command.upgrade(config, "0003")
        finally:
            config.attributes.pop("connection")
        connection.commit()
    upgrade(engine)
    assert differences(engine) == []
    engine.dispose()


def test_dollars_in_views_of_an_older_schema_have_nine_decimals(empty_database: str):
    engine = make_engine(empty_database)
    with engine.connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "0009")
            connection.exec_driver_sql(
                "CREATE VIEW results.older AS SELECT cascade.usd(33600) AS cost_usd"
            )
            shown = sa.text("SELECT cost_usd::text FROM results.older")
            assert len(connection.execute(shown).scalar_one()) > 20
            command.upgrade(config, "head")
            assert connection.execute(shown).scalar_one() == "0.000033600"
        finally:
            config.attributes.pop("connection")
    engine.dispose()
