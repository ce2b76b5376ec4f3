"""When worker processes are started and made to stop: real processes, a clock of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cascade_batch.local.home import Home
from cascade_batch.local.processes import ProcessRef
from cascade_batch.local.workers import GRACE_S, QUIT_S, Workers
from tests.integration.local.stacks import eventually

ENDS_AT_ONCE = "raise SystemExit(3)"
OBEYS = "import time; time.sleep(600)"
IGNORES = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
os.fork()
open(f"ignoring-{os.getpid()}", "w").close()
time.sleep(600)
"""


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Scene:
    """Workers that all run one program, in a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.home = Home.at(folder)
        self.clock = Clock()
        self.program = OBEYS
        self.workers = Workers(
            self.home,
            command=lambda _: [sys.executable, "-c", self.program],
            linger_s=100.0,
            changed=lambda: None,
            now=self.clock,
        )
        self.workers.connect({"CASCADE_DATABASE_URL": "somewhere"})

    def want(self) -> None:
        self.workers.want(["small"])
        self.workers.tick()

    @property
    def ref(self) -> ProcessRef | None:
        return dict(self.workers.refs()).get("tier.small")

    def wait_for_end(self) -> None:
        """Wait until the process has ended and this was noticed."""

        def is_over() -> bool:
            self.workers.tick()
            return self.ref is None

        eventually(is_over)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "home")
    yield scene
    scene.clock.now_s += 1e6
    scene.workers.stop()
    scene.workers.hurry()
    scene.clock.now_s += 1e6

    def is_empty() -> bool:
        scene.workers.tick()
        return scene.workers.is_empty

    eventually(is_empty)


def test_one_that_keeps_ending_starts_later_and_later(scene: Scene) -> None:
    scene.program = ENDS_AT_ONCE
    scene.want()
    for pause_s in (0.5, 1.0, 2.0):
        scene.wait_for_end()
        scene.clock.now_s += pause_s - 0.1
        scene.workers.tick()
        assert scene.ref is None
        scene.clock.now_s += 0.2
        scene.workers.tick()
        assert scene.ref is not None


def test_one_that_nobody_wants_any_more_is_asked_to_stop(scene: Scene) -> None:
    scene.want()
    scene.clock.now_s += 99
    scene.workers.tick()
    first = scene.ref
    assert first is not None
    scene.want()
    scene.clock.now_s += 99
    scene.workers.tick()
    assert scene.ref == first
    scene.clock.now_s += 2
    scene.wait_for_end()
    assert not first.is_alive
    scene.want()
    assert scene.ref is not None


def test_one_that_does_not_stop_is_killed_with_what_it_forked(scene: Scene) -> None:
    scene.program = IGNORES
    scene.want()
    ref = scene.ref
    assert ref is not None
    eventually(lambda: len(list(scene.home.folder.glob("ignoring-*"))) == 4)  # it and the planner
    family = [psutil.Process(ref.pid), *psutil.Process(ref.pid).children()]
    scene.workers.stop()
    scene.workers.tick()
    scene.clock.now_s += GRACE_S + 1
    scene.workers.tick()
    assert ref.is_alive
    scene.clock.now_s += QUIT_S
    scene.wait_for_end()
    psutil.wait_procs(family, timeout=10)
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def test_other_services_mean_other_workers(scene: Scene) -> None:
    scene.want()
    before = scene.ref
    scene.workers.connect({"CASCADE_DATABASE_URL": "elsewhere"})
    assert before is not None
    eventually(lambda: not before.is_alive)
    scene.workers.tick()
    after = scene.ref
    assert after not in (None, before)
    assert after is not None
    assert psutil.Process(after.pid).environ()["CASCADE_DATABASE_URL"] == "elsewhere"
