"""HTTP/1.1 over an asyncio protocol: reads requests, and delivers outcomes, broken ones included.

A protocol of its own, as a web framework neither breaks answers on request nor leaves the machine's
cores to the client that is to be measured. The parser is httptools.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, cast

import httptools
import orjson

from cascade_batch.providers.scripted.outcome import Delivery, Outcome
from cascade_batch.providers.scripted.provider import Call, Provider
from cascade_batch.providers.scripted.wire import FORMATS

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 256 * 2**20
_DRIPS = 20
_FILLER = b" " * 2**16
_FLUSH_POLL_S = 0.001
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_REASONS[529] = b"Overloaded"


class _Request(NamedTuple):
    method: bytes
    path: bytes
    body: bytes
    keep_alive: bool


class Connection(asyncio.Protocol):
    """One client connection; its requests are answered one after another.

    Args:
        provider: What decides.
        open_connections: The connection adds itself while it is open.
    """

    def __init__(self, provider: Provider, open_connections: set[Connection]) -> None:
        self._provider = provider
        self._open = open_connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Request] = deque()
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._keep_alive = True
        self._is_writable = True
        self._fill: Callable[[], None] | None = None
        self._transport: asyncio.Transport
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # TCP has both directions, though uvloop's transport does not inherit from the class that says so.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Called by the event loop: whatever was being answered has lost its client."""
        self._open.discard(self)
        self._waiting.clear()
        self._finish(delivered=False)

    def abort(self) -> None:
        """Close without further ado."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            _LOG.debug("not HTTP/1.1: %s", error)
            self._write(Outcome(400, b"{}"), keep_alive=False)
            self._transport.close()
            return
        if self._waiting and self._call is None:
            self._answer_next()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._path = b""
        self._parts: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Called by the parser, with a piece of the path."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser, with a piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > _MAX_BODY_BYTES:
            self.abort()
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        method, keep_alive = self._parser.get_method(), self._parser.should_keep_alive()
        path = self._path.partition(b"?")[0]
        self._waiting.append(_Request(method, path, b"".join(self._parts), keep_alive))

    def pause_writing(self) -> None:
        """Called by the event loop: the client reads slower than is written."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_writable = True
        if self._fill is not None:
            self._fill()

    def _answer_next(self) -> None:
        while self._waiting and self._call is None and not self._transport.is_closing():
            method, path, body, self._keep_alive = self._waiting.popleft()
            format_ = FORMATS.get(path)
            if method == b"POST" and format_ is not None:
                self._call = self._provider.accept(format_, body)
                if self._call.delay_s > 0:
                    self._timer = self._loop.call_later(self._call.delay_s, self._deliver)
                else:
                    self._deliver()
            else:
                self._write(_own_page(self._provider, method, path), keep_alive=self._keep_alive)
                if not self._keep_alive:
                    self._transport.close()

    def _deliver(self) -> None:
        assert self._call is not None  # noqa: S101 - a delivery belongs to a call
        outcome = self._call.outcome
        match outcome.delivery:
            case Delivery.WHOLE if outcome.filler_bytes == 0:
                self._write(outcome, keep_alive=self._keep_alive)
                self._done()
            case Delivery.WHOLE:
                self._write(outcome, keep_alive=self._keep_alive)
                self._pour(outcome.filler_bytes)
            case Delivery.DRIP:
                self._transport.write(_head(outcome, keep_alive=self._keep_alive))
                self._drip(outcome.body, -(-len(outcome.body) // _DRIPS), outcome.drip_s / _DRIPS)
            case Delivery.CUT:
                self._transport.write(_head(outcome, keep_alive=False))
                self._transport.write(outcome.body[: len(outcome.body) // 2])
                self._transport.close()
            case Delivery.RESET_AFTER_HEADERS:
                self._transport.write(_head(outcome, keep_alive=False))
                self._reset_when_flushed()
            case Delivery.RESET:
                self._reset()
            case Delivery.HANG:
                pass

    def _done(self) -> None:
        self._finish(delivered=True)
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            # Not at once: each pipelined request would be answered deeper in the stack than the last.
            self._loop.call_soon(self._answer_next)

    def _finish(self, *, delivered: bool) -> None:
        call, self._call, self._fill = self._call, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if call is not None:
            call.end(delivered=delivered)

    def _write(self, outcome: Outcome, *, keep_alive: bool) -> None:
        self._transport.write(_head(outcome, keep_alive=keep_alive) + outcome.body)

    def _pour(self, left_bytes: int) -> None:
        """Write blanks as fast as the client takes them."""
        while left_bytes > 0 and self._is_writable:
            self._transport.write(_FILLER[:left_bytes])
            left_bytes -= len(_FILLER)
        if left_bytes > 0:
            self._fill = lambda: self._pour(left_bytes)
        else:
            self._done()

    def _drip(self, body: bytes, step_bytes: int, pause_s: float) -> None:
        self._transport.write(body[:step_bytes])
        if len(body) <= step_bytes:
            self._done()
        else:
            rest = body[step_bytes:]
            self._timer = self._loop.call_later(pause_s, self._drip, rest, step_bytes, pause_s)

    def _reset_when_flushed(self) -> None:
        # An event loop may gather writes until the end of its turn: an abort now would drop the headers.
        if self._transport.get_write_buffer_size() > 0:
            self._timer = self._loop.call_later(_FLUSH_POLL_S, self._reset_when_flushed)
        else:
            self._reset()

    def _reset(self) -> None:
        # A connection that does not linger is closed with a reset in place of a goodbye. The option
        # is set through a duplicate, as event loops hide the socket itself.
        fileno = self._transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(fileno)) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _head(outcome: Outcome, *, keep_alive: bool) -> bytes:
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
        outcome.status,
        _REASONS.get(outcome.status, b"Refused"),
        outcome.content_type,
        len(outcome.body) + outcome.filler_bytes,
        outcome.headers,
        b"" if keep_alive else b"connection: close\r\n",
    )


def _own_page(provider: Provider, method: bytes, path: bytes) -> Outcome:
    """What is not a call: bill, log, models, health, and all that is not served."""
    match method, path:
        case b"GET", b"/bill":
            return Outcome(200, orjson.dumps(provider.statement()))
        case b"POST", b"/bill/reset":
            provider.reset()
            return Outcome(200, orjson.dumps(provider.statement()))
        case b"GET", b"/log":
            return Outcome(200, provider.log.lines(), content_type=b"application/x-ndjson")
        case b"GET", b"/health":
            return Outcome(200, b'{"status":"ok"}')
        case b"GET", b"/v1/models":
            models = [
                {"id": name, "object": "model", "created": 0, "owned_by": "script"}
                for name in provider.model_names
            ]
            return Outcome(200, orjson.dumps({"object": "list", "data": models}))
    provider.count_not_routed()
    message = f"{method.decode()} {path.decode(errors='replace')} is not served here."
    error = {"message": message, "type": "not_found_error", "param": None, "code": "not_found"}
    return Outcome(404, orjson.dumps({"error": error}))
