"""A network between workers and the database that goes away and comes back, with all that was under way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from tests.chaos.scene import LEASE_S, PLANNING, Scene, held_by, send
from tests.integration.cut import CutProxy


@contextlib.contextmanager
def cut_database(scene: Scene) -> Iterator[Callable[[], bool]]:
    """For one worker more, until the database has given away what it holds: what it writes is too late."""
    url = scene.services.database_url
    with (
        CutProxy.to_url(url) as network,
        scene.companion(
            "worker", "--tiers", "small,large", "--name", "far@%h",
            ready="ready", CASCADE_DATABASE_URL=network.url(url),
        ) as worker,
    ):  # fmt: skip

        def strike() -> bool:
            def holds() -> bool:
                return held_by(scene, [c.pid for c in worker.children(recursive=True)]) > 0

            if not scene.wake_until(holds, "the far worker holds a lease"):
                return False
            network.cut()
            scene.wait(lambda: not holds(), "the lease of the worker that was cut off runs out")
            network.restore()
            return True

        yield strike


@contextlib.contextmanager
def cut_planner(scene: Scene) -> Iterator[Callable[[], bool]]:
    """For one planner more, while it plans. Nobody else can then, until its connections are reset."""
    url = scene.services.database_url
    with (
        CutProxy.to_url(url) as network,
        scene.companion(
            "worker", "--control", "--name", "far-planner@%h",
            ready="ready", CASCADE_DATABASE_URL=network.url(url),
        ),
    ):  # fmt: skip

        def strike() -> bool:
            publisher = scene.publisher()

            def is_planning() -> bool:
                publisher.publish_plan(scene.job)
                return scene.witness.one(PLANNING) > 0

            ours = scene.controls()
            send(ours, signal.SIGSTOP)
            try:
                # Where our own stands still in the middle of it, the far one can't begin: another time.
                struck = not scene.witness.one(PLANNING) and scene.wait(
                    is_planning, "the far planner is at it"
                )
                if struck:
                    network.cut()
            finally:
                send(ours, signal.SIGCONT)
            if struck:
                scene.witness.ask("SELECT pg_sleep(%(s)s)", s=LEASE_S + 1)
                network.drop_connections()
                network.restore()
            return struck

        yield strike
