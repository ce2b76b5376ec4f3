"""The page that Prometheus reads, on a port of its own."""

from __future__ import annotations

import errno
import logging
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from cascade_batch.monitoring.channel import Channel
from cascade_batch.monitoring.figures import Figures
from cascade_batch.settings import Settings

logger = logging.getLogger(__name__)

PORTS = 16
"""How many ports are tried, from the given one on: several workers of one host share a setting."""
_LISTEN_S = 0.5


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """A scrape every few seconds is no news."""


class Exporter:
    """Serves collectors until it is closed; where no port is free, it says so and serves nobody."""

    def __init__(self, settings: Settings, *collectors: Collector) -> None:
        registry = CollectorRegistry()
        for collector in collectors:
            registry.register(collector)
        self._server = _listen(settings, registry)
        if self._server is None:
            return
        logger.info("metrics are served on http://%s:%d/metrics", *self._server.server_address[:2])
        # A child would hold the port after its parent's death.
        os.register_at_fork(after_in_child=self._server.socket.close)
        threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True, args=(_LISTEN_S,)
        ).start()

    def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _listen(settings: Settings, registry: CollectorRegistry) -> _Server | None:
    first = settings.metrics_port or 0
    last: OSError | None = None
    for port in range(first, min(first + PORTS, 2**16)):
        try:
            return make_server(
                settings.metrics_host, port, make_wsgi_app(registry), _Server, _Silent
            )
        except OSError as error:
            last = error
            if error.errno != errno.EADDRINUSE:
                break
    logger.warning("metrics are not served on %s:%d: %s", settings.metrics_host, first, last)
    return None


@contextmanager
def worker_metrics(settings: Settings, channel: Channel) -> Iterator[None]:
    """Serve what a worker's children send, while the block lasts."""
    figures = Figures()
    stopped = threading.Event()

    def listen() -> None:
        while not stopped.is_set():
            received = channel.receive(_LISTEN_S)
            if received is not None:
                figures.add(*received)

    listener = threading.Thread(target=listen, name="figures", daemon=True)
    listener.start()
    exporter = Exporter(settings, figures)
    try:
        yield
    finally:
        stopped.set()
        exporter.close()
        listener.join()
