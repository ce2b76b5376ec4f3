"""A receiver of messages about jobs: a real HTTP server that remembers what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Takes everything, but for what `answers` says to the next messages: (status, headers)."""

    url: str
    received: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    arrivals: Queue[Received] = field(default_factory=Queue)

    def types(self) -> list[str]:
        return [one.message["type"] for one in self.received]


@contextmanager
def serve() -> Iterator[Callable[[], Receiver]]:
    """A server on this machine; what it gives makes a new receiver of it."""
    current: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver = current[-1]
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            receiver.arrivals.put(receiver.received[-1])
            status, more = receiver.answers.pop(0) if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()

    def receiver() -> Receiver:
        url = f"http://127.0.0.1:{server.server_port}/hook/a-token-of-ours-12345"
        current.append(Receiver(url))
        return current[-1]

    yield receiver
    server.shutdown()
    server.server_close()
