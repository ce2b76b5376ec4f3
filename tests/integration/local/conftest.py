"""Embedded stacks of the tests' own, each in a home that is removed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cascade_batch.local.stack import ensure_stack
from cascade_batch.settings import Settings
from tests.integration.folders import server_folder
from tests.integration.local.stacks import stop_now


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user may enter, short enough for sockets."""
    with server_folder("cascade-home-") as folder:
        yield folder


@pytest.fixture
def make_settings(base: Path) -> Iterator[Callable[..., Settings]]:
    """Make settings of a stack in a home of its own; the stack is stopped after the test."""
    made: list[Settings] = []

    def make(home: str | Path = "home", *, idle_stop_s: float = 600.0) -> Settings:
        settings = Settings(None, None, base / home, idle_stop_s=idle_stop_s)
        made.append(settings)
        return settings

    yield make
    for settings in made:
        stop_now(settings)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings of a stack that does not run yet."""
    return make_settings()


@pytest.fixture(scope="module")
def running() -> Iterator[Settings]:
    """Settings of a stack that runs, for tests that leave it as it is."""
    with server_folder("cascade-home-") as folder:
        settings = Settings(None, None, folder / "home")
        ensure_stack(settings)
        yield settings
        stop_now(settings)
