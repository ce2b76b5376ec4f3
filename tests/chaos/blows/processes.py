"""Workers, planners and sweepers that die, are stopped, stand still, or are too many."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import psutil

from tests.chaos.blows.at_once import at_once
from tests.chaos.scene import PLANNING, Scene, family, held_by, send


def _mains(scene: Scene) -> list[psutil.Process]:
    return [p for name, p in scene.rig.parts().items() if name.startswith("worker tier.")]


@at_once
def kill_child(scene: Scene) -> bool:
    """One that holds a lease, if any does: Celery's main process starts another."""
    children = [c for c in family(_mains(scene)) if c not in _mains(scene)]
    busy = [c for c in children if held_by(scene, [c.pid])]
    if not children:
        return False
    return send([scene.chance.choice(busy or children)], signal.SIGKILL) > 0


@at_once
def kill_main(scene: Scene) -> bool:
    """Its children stop by themselves, and the stack starts another."""
    mains = _mains(scene)
    return bool(mains) and send([scene.chance.choice(mains)], signal.SIGKILL) > 0


@at_once
def kill_all_workers(scene: Scene) -> bool:
    return send(family(_mains(scene)), signal.SIGKILL) > 0


@at_once
def stop_softly(scene: Scene) -> bool:
    """As a deployment does: main processes are asked."""
    return send(_mains(scene), signal.SIGTERM) > 0


@at_once
def freeze(scene: Scene) -> bool:
    """Until the database has given away what they hold; then they wake, and write in vain."""
    frozen = family(_mains(scene))
    pids = [process.pid for process in frozen]
    # One that holds nothing would have nothing to write afterwards.
    if not scene.wait(lambda: held_by(scene, pids) > 0, "a worker holds a lease"):
        return False
    send(frozen, signal.SIGSTOP)
    try:
        scene.wait(lambda: held_by(scene, pids) == 0, "the frozen workers' leases run out")
    finally:
        send(frozen, signal.SIGCONT)
    return True


@at_once
def kill_planner(scene: Scene) -> bool:
    return send(scene.controls(), signal.SIGKILL) > 0


@at_once
def kill_planner_in_wave(scene: Scene) -> bool:
    """Either as soon as it is at it, or when it has written its decisions and waits for the job's lock."""
    waits = f"{PLANNING} AND a.wait_event_type = 'Lock'"
    if scene.chance.random() < 0.5:
        found = scene.wait(lambda: scene.witness.one(PLANNING) > 0, "the planner is at it")
        return found and send(scene.controls(), signal.SIGKILL) > 0
    with scene.witness.connect() as trap:
        trap.execute("BEGIN")
        trap.execute(
            "SELECT 1 FROM cascade_store.job WHERE name = %s FOR NO KEY UPDATE", [scene.job]
        )
        found = scene.wait(
            lambda: scene.witness.one(waits) > 0, "the planner wants to store a wave"
        )
        struck = found and send(scene.controls(), signal.SIGKILL) > 0
        trap.execute("ROLLBACK")
    return struck


@contextlib.contextmanager
def more_sweepers_and_planners(scene: Scene) -> Iterator[Callable[[], bool]]:
    """Beside the stack's own, from now on until the end; at the blow they are all called at once."""
    with contextlib.ExitStack() as several:
        for _ in range(2):
            several.enter_context(scene.companion("sweeper", ready="sweeper runs"))
        planner = ("worker", "--control", "--name", "more@%h", "--concurrency", "2")
        several.enter_context(scene.companion(*planner, ready="ready"))

        def strike() -> bool:
            publisher = scene.publisher()
            for _ in range(20):
                publisher.publish_plan(scene.job)
            return True

        yield strike
