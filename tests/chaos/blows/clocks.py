"""Clocks that jump by an hour while a worker works.

Done by libfaketime, a library that stands between a process and the system's clock; time that only goes
forward (`CLOCK_MONOTONIC`) stays as it is, as it does when somebody sets a machine's clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import libfaketime

from tests.chaos.scene import Scene, held_by

_LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"


def clock_environment(note: Path) -> dict[str, str]:
    """For a process whose clock is off by what the note says: `+3600`, in seconds."""
    return {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(note),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


@contextlib.contextmanager
def _jump(scene: Scene, by_s: int) -> Iterator[Callable[[], bool]]:
    note = scene.rig.folder / f"clock{by_s:+d}"
    note.write_text("+0")
    with scene.companion(
        "worker", "--tiers", "small,large", "--control", "--name", f"clock{by_s}@%h",
        ready="ready", **clock_environment(note),
    ) as worker:  # fmt: skip

        def strike() -> bool:
            def holds() -> bool:
                return held_by(scene, [c.pid for c in worker.children(recursive=True)]) > 0

            if not scene.wake_until(holds, "the worker with the odd clock holds a lease"):
                return False
            note.write_text(f"{by_s:+d}")
            return True

        yield strike


worker_ahead = partial(_jump, by_s=3600)
worker_back = partial(_jump, by_s=-3600)
