"""Real servers for every test: one Postgres and one Valkey for the whole session.

* `postgres_url` (session): the URL of a database without our schema.
* `fresh_database` (module): the URL of a new database with our schema, for one test module.
* `redis_url` (session): the URL of a Valkey that is emptied before each test that asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from benchmarks.slow_disk import postgres_in
from cascade_batch.local.account import server_account
from cascade_batch.local.postgres import Postgres
from cascade_batch.local.processes import Child
from cascade_batch.local.valkey import Valkey, new_address
from cascade_batch.local.wheels import valkey_programs
from cascade_batch.store.engine import make_engine
from cascade_batch.store.migrate import upgrade
from tests.integration.folders import server_folder

_TEMPLATE = "cascade_template"

_GUARD = """
import os, shutil, signal, sys
sys.stdin.read()  # returns when the test session is gone, however it went
for pid in sys.argv[2].split():
    try:
        os.kill(int(pid), signal.SIGQUIT)
    except ProcessLookupError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


def _guard(folder: Path, child: Child) -> subprocess.Popen[bytes]:
    """A process that stops a server and removes its folder should this session be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", _GUARD, str(folder), str(child.ref.pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.fixture(scope="session")
def _server_folder() -> Iterator[Path]:
    with server_folder("cascade-test-") as folder:
        yield folder


@pytest.fixture(scope="session")
def _postgres(_server_folder: Path) -> Iterator[Postgres]:
    server = postgres_in(_server_folder)
    server.create()
    child = server.start()
    guard = _guard(_server_folder, child)
    try:
        server.wait_until_ready(child)
        # What tests store is not worth waiting for a disk.
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop(child.ref)
        guard.kill()
        guard.communicate()


@pytest.fixture(scope="session")
def postgres_url(_postgres: Postgres) -> str:
    """URL of the server's first database, which has none of our tables."""
    return _postgres.url()


@pytest.fixture(scope="session")
def _template(_postgres: Postgres) -> str:
    with psycopg.connect(_postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    engine = make_engine(_postgres.url(_TEMPLATE))
    upgrade(engine)
    engine.dispose()
    return _TEMPLATE


@pytest.fixture(scope="module")
def fresh_database(_postgres: Postgres, _template: str) -> Iterator[str]:
    """URL of a new, migrated database that one test module has for itself."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(_postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_template}")
    yield _postgres.url(name)
    with psycopg.connect(_postgres.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_url(_server_folder: Path) -> Iterator[str]:
    """URL of a Valkey; it is empty at the start of each test that asks for it."""
    account = server_account()
    server = Valkey(valkey_programs(account), _server_folder / "valkey.log", account)
    child, address = server.start(new_address())
    guard = _guard(_server_folder, child)
    try:
        yield address.url
    finally:
        server.stop(child.ref)
        guard.kill()
        guard.communicate()


@pytest.fixture(autouse=True)
def _empty_broker(request: pytest.FixtureRequest) -> None:
    if "redis_url" in request.fixturenames:
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
            client.flushall()


@pytest.fixture(autouse=True)
def _no_services_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("CASCADE_")]:
        monkeypatch.delenv(name)
