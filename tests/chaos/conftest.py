"""A stack with a provider, for tests whose blows leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.rig import Rig, provider, rig, write_rows
from cascade_batch.providers.scripted import SpawnedProvider
from tests.chaos.runs import ROWS, script, write_tiers_of


@pytest.fixture(scope="module")
def stack() -> Iterator[Rig]:
    with rig(in_memory=True, CASCADE_LEASE_S="3") as one:
        one.run("up")
        yield one


@pytest.fixture(scope="module")
def server(stack: Rig) -> Iterator[SpawnedProvider]:
    with provider(stack, script(seed=1)) as server:
        write_tiers_of(stack, server.url)
        write_rows(stack, [{"prompt": f"Is row {n:06} up or down?"} for n in range(ROWS)])
        yield server
