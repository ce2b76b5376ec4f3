"""A bench whose messages go through a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cascade_batch.dispatch.app import make_app
from cascade_batch.dispatch.publisher import CeleryPublisher
from tests.integration.engine.bench import Bench


@pytest.fixture(scope="module")
def bench(fresh_database: str, redis_url: str) -> Iterator[Bench]:
    bench = Bench(fresh_database, CeleryPublisher(make_app(redis_url)))
    yield bench
    bench.engine.dispose()
