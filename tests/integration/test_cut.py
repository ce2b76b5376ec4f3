"""The network that tests cut, on a real broker and a real database."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis

from tests.integration.cut import CutProxy

pytestmark = pytest.mark.timeout(60)


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Look again until it holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.01)


def test_a_cut_swallows_everything_and_a_restored_network_delivers_it(redis_url: str):
    with CutProxy.to_url(redis_url) as network:
        client = redis.Redis.from_url(network.url(redis_url), socket_timeout=0.2, retry=None)
        direct = redis.Redis.from_url(redis_url)
        assert client.set("key", "before")
        network.cut()
        with pytest.raises(redis.TimeoutError):
            client.set("key", "after")
        # A new connection is accepted, and hears nothing either.
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        assert direct.get("key") == b"before"
        network.restore()
        assert client.set("key", "again")
        wait_until(lambda: network.held_bytes == 0, "what was held arrives")
        client.close()
        direct.close()


def test_dropped_connections_end_at_both_sides_and_others_can_be_made(redis_url: str):
    with CutProxy.to_url(redis_url) as network, redis.Redis.from_url(redis_url) as direct:
        pool = redis.Redis.from_url(network.url(redis_url), retry=None)
        with pool.client() as client:
            client.client_setname("dropped")
            network.cut()
            network.drop_connections()
            network.restore()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            wait_until(
                lambda: all(c["name"] != "dropped" for c in direct.client_list()),
                "the server notices",
            )
            assert client.ping()
        pool.close()


def test_forgotten_connections_stay_silent_while_new_ones_are_well(redis_url: str):
    with CutProxy.to_url(redis_url) as network:
        client = redis.Redis.from_url(network.url(redis_url), socket_timeout=0.2, retry=None)
        assert client.ping()
        network.forget_connections()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        assert client.ping()
        assert network.accepted == 2
        client.close()


def test_a_database_does_what_it_was_asked_though_its_answer_is_lost(postgres_url: str):
    with (
        CutProxy.to_url(postgres_url) as network,
        psycopg.connect(postgres_url, autocommit=True) as direct,
        ThreadPoolExecutor(1) as thread,
    ):
        direct.execute("CREATE TABLE cut_probe (n int)")
        connection = psycopg.connect(network.url(postgres_url))
        connection.execute("INSERT INTO cut_probe VALUES (1)")
        network.cut(requests=False)
        commit = thread.submit(connection.commit)
        wait_until(lambda: network.held_bytes > 0, "the answer reaches the cut")
        network.drop_connections()
        with pytest.raises(psycopg.OperationalError):
            commit.result()
        connection.close()
        assert direct.execute("SELECT n FROM cut_probe").fetchall() == [(1,)]
        direct.execute("DROP TABLE cut_probe")
