"""Messages are hints: bounded in number, and nobody fails for want of a broker."""

from __future__ import annotations

import os
import socket
import threading
from urllib.parse import urlsplit

import pytest
import redis

from cascade_batch.dispatch import publisher as publishing
from cascade_batch.dispatch.app import make_app
from cascade_batch.dispatch.publisher import MOST_WAITING, CeleryPublisher
from cascade_batch.engine.ports import ChunkNotice


def notices(tier: str, count: int) -> list[ChunkNotice]:
    return [ChunkNotice(chunk_id=n, job="job", tier=tier, rows="0-1") for n in range(count)]


def test_messages_do_not_pile_up_before_busy_workers(redis_url: str):
    publisher = CeleryPublisher(make_app(redis_url))
    with redis.Redis.from_url(redis_url) as client:
        publisher.publish_chunks(notices("small", 10))
        assert client.llen("tier.small") == 10
        for _ in range(3):
            publisher.publish_chunks([*notices("small", 200), *notices("large", 20)])
        assert client.llen("tier.small") == MOST_WAITING
        assert client.llen("tier.large") == 60
        client.delete("tier.small")
        publisher.publish_chunks(notices("small", 10))
        assert client.llen("tier.small") == 10


def test_a_broker_that_is_away_fails_nobody_and_is_found_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    elsewhere = urlsplit(redis_url)
    elsewhere = elsewhere._replace(netloc=f"{elsewhere.netloc.rpartition(':')[0]}:{port}")
    publisher = CeleryPublisher(make_app(elsewhere.geturl()))
    publisher.publish_plan("job")
    publisher.publish_chunks(notices("small", 3))
    # The port opens: what is sent now arrives.
    monkeypatch.setattr(publisher, "_away_until", 0.0)
    assert publishing.AWAY_S > 0
    with redis.Redis.from_url(redis_url) as client, _relay(port, redis_url):
        publisher.publish_chunks(notices("small", 3))
        assert client.llen("tier.small") == 3


class _relay:  # noqa: N801 - a context manager in the place of a server
    """Listens on a port and passes everything on to the broker."""

    def __init__(self, port: int, redis_url: str) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._target = redis.Redis.from_url(redis_url).connection_pool.connection_kwargs

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._server.accept()
            except OSError:
                return
            if path := self._target.get("path"):
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(path)
            else:
                theirs = socket.create_connection((self._target["host"], self._target["port"]))
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := os.read(source.fileno(), 65536):
                sink.sendall(data)
        except OSError:
            return
