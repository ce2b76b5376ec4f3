"""A bench per test module: a database of its own, and no broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import Bench


@pytest.fixture(scope="module")
def bench(fresh_database: str) -> Iterator[Bench]:
    bench = Bench(fresh_database)
    yield bench
    bench.engine.dispose()


@pytest.fixture(autouse=True)
def _no_work_for_the_next_test(bench: Bench) -> Iterator[None]:
    yield
    bench.execute("UPDATE cascade_store.job SET state = 'cancelled'")
