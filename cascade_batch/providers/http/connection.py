"""One connection to a server, for one exchange at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from cascade_batch.providers.http.message import Request, Response
from cascade_batch.providers.reading import MAX_BODY_BYTES, too_large

MAX_HEAD_BYTES = 256 * 1024
"""Most that a server may send before its answer's body begins."""
_WITHOUT_BODY = (204, 304)


class Connection(asyncio.Protocol):
    """See the module. Its loop calls it with what the server sends, its parser with what that means.

    Attributes:
        is_reusable: Whether the last exchange left it fit for another one.
        idle_since: When it was laid aside, by the loop's clock.
    """

    __slots__ = (
        "_body", "_encoding", "_fields", "_has_head", "_head_bytes", "_length", "_loop", "_on_lost",
        "_parser", "_size", "_status", "_transport", "_waiter", "idle_since", "is_reusable",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Response] | None = None
        self.is_reusable = False
        self.idle_since = 0.0
        self._encoding: str | None = None
        # -1: in chunks, which say themselves where they end; None: to the end of the connection.
        self._length: int | None = None
        self._begin()

    @property
    def is_open(self) -> bool:
        """Whether something can be sent over it, as far as is known."""
        return not self._transport.is_closing()

    def exchange(self, head: bytes, request: Request) -> asyncio.Future[Response]:
        """Send a request; what comes back.

        The future fails with OSError where the connection breaks or no HTTP comes back, with UnreadableError
        where there is too much of it.
        """
        self._begin()
        self.is_reusable = False
        self._waiter = self._loop.create_future()
        body = request.body
        request.is_sent = True
        self._transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        return self._waiter

    def close(self) -> None:
        """Hang up; at once, if an exchange is under way."""
        if self.is_reusable:
            self._transport.close()
        else:
            self._transport.abort()

    # --- what the loop says ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """The server sent something."""
        if self._waiter is None:
            # An answer that nobody asked for: whose it is meant to be can't be known.
            self.is_reusable = False
            self._transport.abort()
            return
        if not self._has_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(ConnectionError("the head of the answer has no end"))
                return
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            said = " ".join(str(error).split())
            self._fail(ConnectionError(f"the answer is no HTTP: {said}" if said else "no HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone. For an answer without a length that is its end."""
        self._on_lost(self)
        if self._waiter is None:
            return
        ends_so = self._length is None and self._has_head and self._status not in _WITHOUT_BODY
        if exc is None and ends_so:
            self._complete()
        else:
            said = str(exc) if exc else "the server hung up before its answer was complete"
            self._fail(ConnectionResetError(said))

    # --- what the parser says ---

    def on_message_begin(self) -> None:
        """An answer begins, or what comes after one."""
        if self._waiter is None:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._fields.append((name, value))
        size = len(name)
        if size == 14:
            if name.lower() == b"content-length":
                self._length = int(value) if value.isdigit() else None
        elif size == 16:
            if name.lower() == b"content-encoding":
                self._encoding = value.decode("latin-1")
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._length = -1

    def on_headers_complete(self) -> None:
        """The body comes next, if there is one."""
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._has_head = True
        if 300 <= self._status < 400:
            # It may be a long page, and says no more than the head does.
            self._complete()
        elif self._length is not None and self._length > MAX_BODY_BYTES:
            self._fail(too_large())

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._fail(too_large())
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete; one that only announces another is forgotten."""
        if self._status < 200:
            self._begin()
        elif self._waiter is not None:
            # What a server answers before it has read all of a request leaves the rest in the way.
            self.is_reusable = (
                self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
            )
            self._complete()

    # --- ends ---

    def _begin(self) -> None:
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._encoding = None
        self._length = None
        self._size = 0
        self._has_head = False
        self._head_bytes = 0

    def _complete(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            body = self._body
            packed = body[0] if len(body) == 1 else b"".join(body)
            waiter.set_result(Response(self._status, self._fields, packed, self._encoding))

    def _fail(self, error: Exception) -> None:
        self.is_reusable = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self._transport.abort()
