"""Messages that come too often, never, or for what is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import redis

from tests.chaos.blows.at_once import at_once
from tests.chaos.scene import PATIENCE_S, Scene

_QUEUES = ("tier.small", "tier.large", "control")


def _deliver(scene: Scene, times: int) -> bool:
    """Messages about chunks that are done, open or never were, and calls of the planner."""
    publisher = scene.publisher()
    notices = scene.notices()
    notices += [replace(one, chunk_id=one.chunk_id + 10_000) for one in notices[:2]]
    for _ in range(times):
        publisher.publish_plan(scene.job)
        publisher.publish_chunks(notices)
    return True


@at_once
def deliver_twice(scene: Scene) -> bool:
    return _deliver(scene, 2)


@at_once
def deliver_ten_times(scene: Scene) -> bool:
    return _deliver(scene, 10)


@at_once
def lose_one(scene: Scene) -> bool:
    """Whatever waits next in some queue is lost; the planner's first of all."""
    with contextlib.suppress(redis.ConnectionError):
        broker = redis.Redis.from_url(scene.services.redis_url)
        return scene.wait(
            lambda: any(broker.rpop(queue) is not None for queue in reversed(_QUEUES)),
            "a message waits",
        )
    return False


@contextlib.contextmanager
def for_a_deleted_job(scene: Scene) -> Iterator[Callable[[], bool]]:
    """A job that was there, with chunks, and was cancelled and deleted before the message arrives."""
    other = f"{scene.job} deleted"
    scene.rig.run(
        "submit", "data.jsonl", "--tiers", "nowhere.yaml", "--name", other, "--budget", "1",
        "--limit", "5", "--detach",
    )  # fmt: skip
    gone = replace(scene, job=other).notices()
    scene.rig.run("cancel", other)
    ends = time.monotonic() + PATIENCE_S
    while scene.rig.call("delete", other, "--yes").returncode:  # calls in flight settle first
        assert time.monotonic() < ends, "the other job can't be deleted"

    def strike() -> bool:
        publisher = scene.publisher()
        publisher.publish_plan(other)
        publisher.publish_chunks(gone)
        return bool(gone)

    yield strike
