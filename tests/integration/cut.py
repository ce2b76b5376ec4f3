"""A network that a test can cut: a TCP port on the loopback interface that leads to a server.

    with CutProxy.to_url(redis_url) as network:
        client = Redis.from_url(network.url(redis_url))
        network.cut()               # a black hole: connections stay open, nothing arrives
        network.restore()           # what was under way arrives now, as after TCP's own retransmission
        network.drop_connections()  # all connections are reset; new ones are let through
        network.forget_connections()  # all connections are black holes for good; new ones are let through

While it is cut, a new connection is accepted and hears nothing: as with a server that hangs, or a load
balancer whose server is away. Cut one way only, requests still reach the server but its answers are lost:
`network.cut(requests=False)`. Works for any protocol, Redis and Postgres alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_PIECE_BYTES = 65_536
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "postgresql": 5432}
Target = tuple[str, int] | Path


def target_of(url: str) -> Target:
    """Where a Redis or Postgres URL leads: a host and port, or a Unix socket."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS[parts.scheme.partition("+")[0]]
    host = parts.hostname or dict(parse_qsl(parts.query)).get("host") or "127.0.0.1"
    # Postgres names the folder of its sockets.
    return Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (unquote(host), port)


class CutProxy:
    """See the module. Runs in a thread of its own while the block lasts; call it from any thread.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._gates = {"requests": asyncio.Event(), "answers": asyncio.Event()}
        self._forgotten = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._held_bytes = 0
        self._accepted = 0
        self._server: asyncio.Server | None = None
        self.port = 0

    @classmethod
    def to_url(cls, url: str) -> CutProxy:
        """One that leads to where the URL leads."""
        return cls(target_of(url))

    def url(self, url: str) -> str:
        """The same URL, but through this network."""
        parts = urlsplit(url)
        account = parts.netloc.rpartition("@")
        query = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key != "host"])
        netloc = f"{account[0]}{account[1]}127.0.0.1:{self.port}"
        return parts._replace(netloc=netloc, query=query).geturl()

    def cut(self, *, requests: bool = True, answers: bool = True) -> None:
        """Forward nothing more: what clients send, what servers send, or both. Nobody is told."""
        self._run(lambda: self._set(requests=not requests, answers=not answers))

    def restore(self) -> None:
        """Forward what was held back, and everything from now on."""
        self._run(lambda: self._set(requests=True, answers=True))

    def drop_connections(self) -> None:
        """Reset all connections, on both sides, with what was under way on them."""
        self._run(self._drop)

    def forget_connections(self) -> None:
        """Never forward anything again on those that are open, like a firewall that lost its memory."""
        self._run(self._forget)

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        return len(self._writers) // 2

    @property
    def accepted(self) -> int:
        """Connections that were made since the start."""
        return self._accepted

    @property
    def held_bytes(self) -> int:
        """What has reached the cut and waits there."""
        return self._held_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, action: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await action()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=30)

    async def _listen(self) -> None:
        await self._set(requests=True, answers=True)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, **is_open: bool) -> None:
        for way, gate in self._gates.items():
            if is_open[way]:
                gate.set()
            else:
                gate.clear()

    async def _forget(self) -> None:
        forgotten, self._forgotten = self._forgotten, asyncio.Event()
        forgotten.set()

    async def _drop(self) -> None:
        for writer in list(self._writers):
            # Reset, not closed in good order: what a firewall or a server that crashed would do.
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("connections are served by tasks")
        self._tasks.add(task)
        self._writers.add(writer)
        self._accepted += 1
        there: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                answers, there = await self._connect()
                self._writers.add(there)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, there, "requests"))
                    both.create_task(self._pass_on(answers, writer, "answers"))
        finally:
            for end in (writer, there):
                if end is not None:
                    self._writers.discard(end)
                    end.close()
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str
    ) -> None:
        """Until one end closes, which is an event on the wire as any other: it waits at the cut, too."""
        forgotten = self._forgotten
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE_BYTES):
                self._held_bytes += len(piece)
                try:
                    await self._pass(way, forgotten)
                finally:
                    self._held_bytes -= len(piece)
                sink.write(piece)
                await sink.drain()
        await self._pass(way, forgotten)
        with contextlib.suppress(OSError):
            sink.write_eof()

    async def _pass(self, way: str, forgotten: asyncio.Event) -> None:
        await self._gates[way].wait()
        if forgotten.is_set():
            await asyncio.Event().wait()
