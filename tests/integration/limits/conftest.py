"""A Valkey that a test may kill, and helpers that see what gates really let through."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_batch.local.account import server_account
from cascade_batch.local.processes import Child
from cascade_batch.local.valkey import Valkey, new_address
from cascade_batch.local.wheels import valkey_programs


class FakeClock:
    """A clock that stands still until it is moved; for gates in seconds, for scripts in μs."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def us(self) -> int:
        return round(self.now * 1e6)

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class MortalValkey:
    """A server that can be killed without warning and comes back empty at the same address."""

    def __init__(self, log: Path) -> None:
        account = server_account()
        self._server = Valkey(valkey_programs(account), log, account)
        self._child: Child | None = None
        self._address = new_address()
        self.start()

    @property
    def url(self) -> str:
        return self._address.url

    def start(self) -> None:
        self._child, address = self._server.start(self._address)
        assert self._child.ref.pid
        self._address = address

    def kill(self) -> None:
        if self._child is not None:
            self._child.ref.stop((signal.SIGKILL, 10.0))
            self._child = None


@pytest.fixture
def mortal_valkey() -> Iterator[MortalValkey]:
    folder = Path(tempfile.mkdtemp(prefix="cascade-test-"))
    folder.chmod(0o711)
    server = MortalValkey(folder / "valkey.log")
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)
