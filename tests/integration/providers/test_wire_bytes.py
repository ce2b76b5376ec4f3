"""What servers send, byte for byte: what is an answer, what may be billed, which connections are kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Unknown
from tests.integration.providers.conftest import Caller

BODY = b'{"choices": [{"message": {"content": "up"}, "finish_reason": "stop"}]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
GOOD = b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BODY), BODY)


@pytest.fixture
def wire() -> dict[str, str]:
    """One format is enough here: bytes are told apart before any is looked at."""
    return {"api": "openai"}


@dataclass
class RawServer:
    """Answers each request of a connection with the next of `replies`; may hang up after the last."""

    replies: Sequence[bytes]
    hangs_up: bool = False
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """The tier's `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            for reply in self.replies:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(reply)
            if not self.hangs_up:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    *replies: bytes,
    hangs_up: bool = False,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawServer]:
    raw = RawServer(replies, hangs_up)
    server = await asyncio.start_server(raw.serve, host, 0, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    async with server:
        yield raw


async def call(caller: Caller, url: str, **tier: object) -> Outcome:
    return await caller.call(url, api_key_env=None, **tier)


@pytest.mark.parametrize(
    ("reply", "hangs_up"),
    [
        (GOOD, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD, False),
        (CHUNKED + b"0\r\n\r\n", False),
        (CHUNKED + b"0\r\nX-Trailer: yes\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + BODY, True),
        (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, True),
        (b"HTTP/1.1 200 \r\n" + LENGTH.lower() + b"\r\n" + BODY, False),
    ],
    ids=["length", "continue", "hints", "chunked", "trailer", "to the end", "old", "no reason"],
)
async def test_an_answer_however_it_ends(caller: Caller, reply: bytes, hangs_up: bool):
    async with serving(reply, hangs_up=hangs_up) as server:
        outcome = await call(caller, server.url)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        GOOD[:20],
        GOOD[:-1],
        CHUNKED,
        CHUNKED[:-20],
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["nothing", "half a head", "a byte less", "no last chunk", "half a chunk", "only continue",
         "no http", "two lengths", "negative", "no chunk", "upgrade"],
)  # fmt: skip
async def test_what_is_no_whole_answer_may_have_been_billed(caller: Caller, reply: bytes):
    async with serving(reply, hangs_up=True) as server:
        outcome = await call(caller, server.url, timeout_s=5)
        assert len(server.requests) == 1
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "disconnected"
    assert outcome.message.startswith("127.0.0.1: ")


async def test_a_head_without_end_is_not_read_to_the_end(caller: Caller):
    lines = b"".join(b"X-Filler-%d: %b\r\n" % (n, b"x" * 1000) for n in range(3000))
    async with serving(b"HTTP/1.1 200 OK\r\n" + lines) as server:
        outcome = await call(caller, server.url, timeout_s=20)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "disconnected"


async def test_connections_are_kept_as_far_as_the_server_allows(caller: Caller):
    closing = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    for replies, connections in (
        ([GOOD] * 4, 1),
        ([closing] * 4, 4),
        # More than was asked for: whose answer it is can't be known.
        ([GOOD + GOOD] * 4, 4),
        ([GOOD + b"HTTP/1.1 200 OK\r\n"] * 4, 4),
    ):
        async with serving(*replies) as server:
            for _ in replies:
                assert isinstance(await call(caller, server.url), Answered)
            assert (len(server.requests), server.connections) == (4, connections)


async def test_a_server_that_hung_up_meanwhile_is_called_anew(caller: Caller):
    async with serving(GOOD, hangs_up=True) as server:
        for number in range(3):
            assert isinstance(await call(caller, server.url), Answered)
            async with asyncio.timeout(10):
                while caller.providers._session.direct._open:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0)
            assert server.connections == number + 1


async def test_an_answer_after_the_time_out_is_nobody_elses(caller: Caller):
    """The connection of a call that was given up is not used again."""
    async with serving(b"", GOOD) as server:
        outcome = await call(caller, server.url, timeout_s=0.1)
        assert isinstance(outcome, Unknown)
        assert outcome.reason == "timeout"
        second = asyncio.create_task(call(caller, server.url, timeout_s=0.1))
        await second
        assert server.connections == 2


async def test_a_call_over_a_kept_connection_has_its_own_time_and_no_more(caller: Caller):
    async with serving(GOOD, b"", GOOD, b"") as server:
        for is_answered in (True, False, True, False):
            began = asyncio.get_running_loop().time()
            outcome = await call(caller, server.url, timeout_s=0.2)
            if is_answered:
                assert isinstance(outcome, Answered)
                continue
            assert isinstance(outcome, Unknown)
            assert outcome.reason == "timeout"
            # Not when the time of the call before it was over.
            assert asyncio.get_running_loop().time() - began >= 0.2
        assert (len(server.requests), server.connections) == (4, 2)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_an_address_of_ipv6(caller: Caller):
    async with serving(GOOD, host="::1") as server:
        outcome = await call(caller, f"http://[::1]:{server.port}/v1")
    assert isinstance(outcome, Answered)
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


async def test_a_host_whose_first_address_does_not_answer(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    async with serving(GOOD) as server:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 9)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]

        async def resolve(*_: object, **__: object) -> list[object]:
            return list(addresses)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        assert isinstance(
            await call(caller, f"http://two-addresses.example:{server.port}/v1"), Answered
        )


async def test_a_host_that_moved_is_found_at_its_new_address(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    async with serving(GOOD) as server:
        ports = iter([9, server.port])

        async def resolve(*_: object, **__: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", next(ports)))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        url = f"http://moving.example:{server.port}/v1"
        assert isinstance(await call(caller, url), Refused)
        assert isinstance(await call(caller, url), Answered)


async def test_tls_with_a_certificate_that_is_trusted_and_one_that_is_not(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serving(GOOD, tls=tls) as server:
        url = server.url.replace("http:", "https:")
        outcome = await call(caller, url)
        assert isinstance(outcome, Refused)
        assert outcome.kind is RefusalKind.CONNECT
        assert "certificate" in outcome.message
        assert server.requests == []
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await caller.providers.close()
        outcome = await call(caller, url)
    assert isinstance(outcome, Answered)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "outcome", "reason"),
    [
        (GOOD, Answered, None),
        (CHUNKED + b"0\r\n\r\n", Answered, None),
        (GOOD[:-1], Unknown, "disconnected"),
        (b"", Unknown, "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", Unknown, "unreadable"),
        (b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", Refused, None),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Refused, None),
    ],
    ids=["length", "chunked", "cut", "nothing", "huge", "redirect", "busy"],
)
async def test_the_same_through_a_proxy(
    caller: Caller,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes,
    outcome: type[Outcome],
    reason: str | None,
):
    async with serving(reply, hangs_up=True) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        found = await call(caller, "http://provider.invalid/v1", timeout_s=10)
        assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"POST http://provider.invalid/v1/")
    assert isinstance(found, outcome)
    assert getattr(found, "reason", None) == reason
