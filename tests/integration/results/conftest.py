"""A database for all tests of results, jobs on real parts (see the engine's bench), and readers of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy.engine import make_url

from cascade_batch.store.reader import reader_url
from tests.integration.engine.bench import Bench


@pytest.fixture(scope="module")
def bench(fresh_database: str) -> Iterator[Bench]:
    bench = Bench(fresh_database)
    yield bench
    bench.engine.dispose()


@pytest.fixture(scope="module")
def read(fresh_database: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Ask as the role that reads."""
    url = reader_url(fresh_database)
    assert make_url(url).username == "cascade_reader"
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield lambda query: connection.execute(query.encode()).fetchall()


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """URL of a new database that nobody has migrated."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
