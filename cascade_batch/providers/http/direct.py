"""Connections to servers that need no proxy, kept for a while between calls."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from functools import cached_property

from aiohappyeyeballs import AddrInfoType, start_connection

from cascade_batch.providers.http.connection import Connection
from cascade_batch.providers.http.deadlines import Deadlines
from cascade_batch.providers.http.message import Address, Request, Response

CONNECT_TIMEOUT_S = 10.0
"""Until one of a host's addresses accepts; the tier's own time-out bounds everything."""

KEEP_ALIVE_S = 4.0
"""Idle connections are closed after this long. A request that goes out just when the server closes an
idle connection is written off, so this stays below the shortest wait that is common among servers
(5 s: uvicorn, which vLLM runs on, and Node). A new connection costs time only."""

NAMES_KEPT_S = 300.0
"""How long a host's addresses are taken to be true."""
_STAGGER_S = 0.25
"""How long each of a host's addresses is tried before the next one is as well (RFC 8305, section 5)."""

Origin = tuple[bool, str, int]


class DirectConnections:
    """See the module. Belongs to the loop that runs when it is made; how many calls run at once is decided
    before they come here."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._names: dict[tuple[str, int], tuple[float, asyncio.Future[list[AddrInfoType]]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._deadlines = Deadlines(self._loop)

    async def post(
        self, address: Address, head: bytes, request: Request, timeout_s: float
    ) -> Response:
        """Send a request and read its answer.

        Args:
            head: Of `request_head`.
            timeout_s: For all of it.

        Raises:
            TimeoutError: It took longer.
            OSError: No connection, or it broke, or what came back is no HTTP.
            UnreadableError: Too much came back.
        """
        connection = self._idle_one(address.origin)
        if connection is None:
            async with asyncio.timeout(timeout_s):
                connection = await self._connect(address.origin)
                try:
                    return await connection.exchange(head, request)
                finally:
                    self._give_back(address.origin, connection)
        answer = connection.exchange(head, request)
        self._deadlines.watch(answer, timeout_s)
        try:
            return await answer
        finally:
            self._deadlines.forget(answer, timeout_s)
            self._give_back(address.origin, connection)

    def close(self) -> None:
        """Hang up everywhere."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._deadlines.close()
        self._idle.clear()
        for connection in list(self._open):
            connection.close()

    def _idle_one(self, origin: Origin) -> Connection | None:
        """The one that was used last: the others grow old and are closed."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        # The loop may not have run for long, and nobody swept meanwhile.
        since = self._loop.time() - KEEP_ALIVE_S
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since > since:
                return connection
            connection.close()
        return None

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        if not connection.is_reusable or not connection.is_open:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(origin, deque()).append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_ALIVE_S, self._close_old)

    def _close_old(self) -> None:
        since = self._loop.time() - KEEP_ALIVE_S
        self._sweep = None
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= since:
                idle.popleft().close()
        if any(self._idle.values()):
            self._sweep = self._loop.call_later(KEEP_ALIVE_S / 4, self._close_old)

    async def _connect(self, origin: Origin) -> Connection:
        is_tls, host, port = origin
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                found = await self._addresses(host, port)
                connected = await start_connection(
                    found, happy_eyeballs_delay=_STAGGER_S, interleave=1, loop=self._loop
                )
        except (OSError, TimeoutError):
            # It may have moved.
            self._names.pop((host, port), None)
            raise
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._open.discard),
                sock=connected,
                ssl=self._tls if is_tls else None,
                server_hostname=host if is_tls else None,
            )
        except BaseException:
            connected.close()
            raise
        self._open.add(connection)
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """The host's addresses; asked for once, by whoever comes first, for all who come meanwhile."""
        known = self._names.get((host, port))
        if known is None or known[0] < self._loop.time() or _has_failed(known[1]):
            known = (
                self._loop.time() + NAMES_KEPT_S,
                asyncio.ensure_future(self._resolve(host, port)),
            )
            self._names[host, port] = known
        return await asyncio.shield(known[1])

    async def _resolve(self, host: str, port: int) -> list[AddrInfoType]:
        return list(await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _has_failed(asked: asyncio.Future[list[AddrInfoType]]) -> bool:
    return asked.done() and (asked.cancelled() or asked.exception() is not None)
