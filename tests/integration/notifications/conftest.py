"""A receiver that is a real HTTP server, and a courier that sends when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cascade_batch.notifications.courier import Courier
from tests.integration.engine.bench import Bench
from tests.integration.receiver import Receiver, serve

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
TIERS = {"max_output_tokens": 64}


@pytest.fixture(scope="session")
def _receivers() -> Iterator[Callable[[], Receiver]]:
    with serve() as receivers:
        yield receivers


@pytest.fixture
def receiver(_receivers: Callable[[], Receiver]) -> Receiver:
    return _receivers()


@pytest.fixture(scope="module")
def bench(fresh_database: str) -> Iterator[Bench]:
    bench = Bench(fresh_database)
    yield bench
    bench.engine.dispose()


@pytest.fixture(autouse=True)
def _nothing_is_left_to_send(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bench" in request.fixturenames:
        request.getfixturevalue("bench").execute("DELETE FROM cascade_store.job")


@dataclass
class Post:
    """Sends what is due; `variables` are what is set where the sweeper runs."""

    bench: Bench
    variables: dict[str, str]

    def send(self) -> int:
        courier = Courier(self.bench.database_url, (), self.variables.get)
        return courier.send_due(self.bench.engine)

    def send_waiting(self) -> int:
        """As if every wait were over."""
        self.bench.execute("UPDATE cascade_store.notification SET next_at = now()")
        return self.send()


@pytest.fixture
def post(bench: Bench) -> Post:
    return Post(bench, {"HOOK_SECRET": SECRET})
