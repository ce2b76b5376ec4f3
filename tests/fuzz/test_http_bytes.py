"""Whatever bytes come back from a server: an answer or a clear end, the same however they are cut up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade_batch.providers.http.connection import Connection
from cascade_batch.providers.http.message import Request, Response
from cascade_batch.providers.reading import UnreadableError
from tests.fuzz.hostile import FUZZ, spoilt_bytes

BODY = b'{"choices": []}'
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Encoding: gzip\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\na;x=y\r\n"
    + BODY[5:] + b"\r\n0\r\nX-Trailer: t\r\n\r\n"
)  # fmt: skip
TO_THE_END = b"HTTP/1.0 503 Busy\r\nRetry-After: 3\r\n\r\n" + BODY
AFTER_A_HINT = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + WITH_LENGTH
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 15\r\n\r\n" + BODY
REPLIES = (WITH_LENGTH, CHUNKED, TO_THE_END, AFTER_A_HINT, REDIRECT)


class _Wire(asyncio.Transport):
    """A transport that only remembers whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def _outcome(pieces: list[bytes]) -> tuple[Any, ...]:
    """What comes of an exchange in which the server sends these pieces and hangs up."""
    loop = asyncio.new_event_loop()
    try:
        wire = _Wire()
        connection = Connection(loop, lambda _: None)
        connection.connection_made(wire)
        answer = connection.exchange(b"", Request(b""))
        for piece in pieces:
            if wire.closed:
                break
            connection.data_received(piece)
        if not answer.done():
            connection.connection_lost(None)
        assert answer.done()
        error = answer.exception()
        if error is not None:
            assert isinstance(error, (OSError, UnreadableError))
            assert not connection.is_reusable
            return (type(error),)
        found: Response = answer.result()
        return found.status, sorted(found.headers.items()), found.packed, found.encoding
    finally:
        loop.close()


@FUZZ
@given(st.sampled_from(REPLIES).flatmap(spoilt_bytes), st.lists(st.integers(0, 300), max_size=6))
@example(WITH_LENGTH * 2, [3, 50])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", [])
def test_what_comes_of_it_does_not_depend_on_where_packets_end(content: bytes, cuts: list[int]):
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    pieces = [content[a:b] for a, b in zip([0, *ends], ends, strict=False) if b > a]

    assert _outcome(pieces) == _outcome([content] if content else [])


@pytest.mark.parametrize(
    "content", REPLIES, ids=["length", "chunked", "to the end", "hint", "redirect"]
)
def test_every_byte_a_packet_of_its_own(content: bytes):
    assert _outcome([bytes([byte]) for byte in content]) == _outcome([content])
    assert isinstance(_outcome([content])[0], int)
