"""A database and a broker that die, come back, or forget."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from tests.chaos.blows.at_once import at_once
from tests.chaos.scene import PATIENCE_S, Scene, send

T = TypeVar("T")


def _server(scene: Scene, name: str, number: signal.Signals) -> bool:
    return send([p for part, p in scene.rig.parts().items() if part == name], number) > 0


def _broker(scene: Scene) -> redis.Redis:
    return redis.Redis.from_url(scene.services.redis_url)


def _when_it_answers(scene: Scene, action: Callable[[redis.Redis], T]) -> T:
    """It may be on its way back from another blow."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            with _broker(scene) as broker:
                return action(broker)
        except (redis.ConnectionError, redis.TimeoutError):
            assert time.monotonic() < ends, "the broker did not come back"
            time.sleep(0.02)


@at_once
def kill_broker(scene: Scene) -> bool:
    """The stack's broker keeps nothing on disk: it comes back empty."""
    return _server(scene, "valkey", signal.SIGKILL)


@at_once
def kill_broker_keeping_data(scene: Scene) -> bool:
    """It comes back with what it held a moment before its death, as with a snapshot on its disk: messages
    that were taken since are there again, later ones are not."""
    held = _when_it_answers(
        scene,
        lambda broker: {key: broker.dump(key) for key in broker.keys()},  # noqa: SIM118 - no mapping
    )
    if not _server(scene, "valkey", signal.SIGKILL):
        return False

    def put_back(broker: redis.Redis) -> None:
        for key, value in held.items():
            if value is not None:
                broker.restore(key, 0, value, replace=True)

    _when_it_answers(scene, put_back)
    return True


@at_once
def empty_broker(scene: Scene) -> bool:
    """Every message is lost, and every limit's count."""
    return bool(_when_it_answers(scene, lambda broker: broker.flushall()))


@at_once
def restart_database(scene: Scene) -> bool:
    """Postgres' fast shutdown: transactions are rolled back, connections are closed."""
    return _server(scene, "postgres", signal.SIGINT)


@at_once
def kill_database(scene: Scene) -> bool:
    return _server(scene, "postgres", signal.SIGKILL)


@at_once
def drop_connections(scene: Scene) -> bool:
    """All but our own."""
    dropped = scene.witness.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return bool(dropped)
