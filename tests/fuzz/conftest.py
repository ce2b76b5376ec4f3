"""How much memory an example may take, and where it may write."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

_EXTRA_BYTES = 2 * 2**30


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    """What takes two gigabytes fails with a MemoryError, rather than with the machine."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    held_bytes = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held_bytes + _EXTRA_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all examples of a module write into."""
    return tmp_path_factory.mktemp("fuzz")
