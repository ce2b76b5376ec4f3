"""One call over HTTP. Every rule about what may have been billed is applied here.

What decides is whether the request can have reached the server, and whether the answer was read to
its end:

- not one byte of the request was handed to a connection: `Refused` as CONNECT, nothing was sent;
- the whole answer was read and has an error status: `Refused`, see `refusals`;
- the whole answer was read, has a status of 200 to 299 and reads as an answer: `Answered`;
- everything else, time-outs, broken connections, cut off or unreadable answers: `Unknown`. The
  provider may have done the work and may bill it. An error object in an answer with status 200 is
  among them: gateways report so what failed half-way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from cascade_batch import __version__
from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.credentials import presentable, read_key
from cascade_batch.providers.provider import PerTier
from cascade_batch.providers.reading import UnreadableError, parse_json, read_body
from cascade_batch.providers.refusals import refusal

CONNECT_TIMEOUT_S = 10.0
"""For one address of the host; the tier's own time-out bounds all of them together."""

KEEP_ALIVE_S = 4.0
"""Idle connections are closed after this long. A request that goes out just when the server closes an
idle connection is written off, so this stays below the shortest wait that is common among servers
(5 s: uvicorn, which vLLM runs on, and Node). A new connection costs time only."""


class Wire(Protocol):
    """What differs between the wire formats, for one tier."""

    url: str
    family: str
    """See `Provider.body_family`."""

    def headers(self, key: str | None) -> dict[str, str]:
        """Headers that authenticate and name the format's version."""
        ...

    def body(self, prompt: Prompt, output: Output) -> bytes:
        """The request's body."""
        ...

    def reply(self, document: Any, latency_ms: float) -> Reply:
        """Read an answer with status 200 to 299.

        Raises:
            UnreadableError: It holds no answer.
        """
        ...


class HttpSession:
    """The connections of a worker process, made when the first call needs them.

    Lazily, as it belongs to the loop that runs then, and a worker forks before it has one.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def get(self) -> aiohttp.ClientSession:
        """The session; needs a running loop."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                # How many calls run at once is decided before they come here.
                connector=aiohttp.TCPConnector(
                    limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_ALIVE_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # Would look for ~/.netrc and proxies in a thread, at every call; `_proxy` does the
                # half of it that is wanted, once per tier.
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Body(Payload):
    """A request's body that remembers whether any of the request was handed to a connection.

    aiohttp keeps the headers back and writes them together with the first bytes of the body, so
    up to the first write nothing at all has left.
    """

    _autoclose = True

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self.is_sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        text: str = self._value.decode(encoding, errors)
        return text

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, _content_length: int | None
    ) -> None:
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("The connection closed before the request")
        self.is_sent = True
        await writer.write(self._value)


class _Prepared:
    """What the calls of one tier have in common."""

    def __init__(self, tier: Tier, wire: Wire) -> None:
        """Raises ValueError if the address or that of its proxy is none."""
        self.wire = wire
        self.url = URL(wire.url)
        self.proxy, self.proxy_password = _proxy(self.url)
        self.timeout = aiohttp.ClientTimeout(
            total=tier.timeout_s,
            sock_connect=min(CONNECT_TIMEOUT_S, tier.timeout_s),
            # By default aiohttp rounds time-outs above 5 s up to whole seconds.
            ceil_threshold=float("inf"),
        )
        self._key: str | None = None
        self._headers: dict[str, str] | None = None

    def message(self, text: str, key: str | None) -> str:
        """`text` fit to be shown, with the server that it is about."""
        return presentable(f"{self.url.host}: {text}", key, self.proxy_password)

    def headers(self, key: str | None) -> dict[str, str]:
        if self._headers is None or key != self._key:
            self._key = key
            self._headers = {
                hdrs.USER_AGENT: f"cascade-batch/{__version__}",
                hdrs.ACCEPT: "application/json",
                hdrs.ACCEPT_ENCODING: "gzip",
                **self.wire.headers(key),
            }
        return self._headers


class HttpProvider:
    """A provider behind HTTP, in one wire format."""

    def __init__(self, session: HttpSession, make_wire: Callable[[Tier], Wire]) -> None:
        self._session = session
        self._wires = PerTier(make_wire)
        self._prepared = PerTier(lambda tier: _Prepared(tier, self._wires[tier]))

    def request_body(self, tier: Tier, prompt: Prompt, output: Output) -> bytes:
        """See `Provider.request_body`."""
        return self._wires[tier].body(prompt, output)

    def body_family(self, tier: Tier) -> str:
        """See `Provider.body_family`."""
        return self._wires[tier].family

    async def call(self, tier: Tier, body: bytes) -> Outcome:
        """See `Provider.call` and the rules at the top of this module."""
        key = read_key(tier)
        if isinstance(key, Refused):
            return key
        try:
            prepared = self._prepared[tier]
        except ValueError as error:
            text = f"Tier {tier.name!r} can't be called at {tier.url}: {error}"
            return Refused(RefusalKind.TIER, presentable(text, key))
        request = _Body(body)
        try:
            return await self._exchange(prepared, request, key)
        except (UnreadableError, aiohttp.ClientError, OSError, ValueError) as error:
            outcome = _failed(error, is_sent=request.is_sent, timeout_s=tier.timeout_s)
            return replace(outcome, message=prepared.message(outcome.message, key))

    async def _exchange(self, prepared: _Prepared, request: _Body, key: str | None) -> Outcome:
        started_s = time.perf_counter()
        response = await self._session.get().post(
            prepared.url,
            data=request,
            headers=prepared.headers(key),
            timeout=prepared.timeout,
            proxy=prepared.proxy,
            allow_redirects=False,
        )
        # Not `async with`: it would wait for the rest of the request to be sent, without end where
        # a server answers before it has read all of it.
        try:
            is_redirect = 300 <= response.status < 400
            content = b"" if is_redirect else await read_body(response)
        finally:
            response.close()
        latency_ms = (time.perf_counter() - started_s) * 1000.0
        if response.status >= 300:
            refused = refusal(response.status, response.headers, content)
            return replace(refused, message=prepared.message(refused.message, key))
        return Answered(_reply(prepared.wire, parse_json(content), latency_ms))


def _failed(error: Exception, *, is_sent: bool, timeout_s: float) -> Refused | Unknown:
    if isinstance(error, UnreadableError):
        return Unknown("unreadable", str(error))
    if isinstance(error, TimeoutError):
        if is_sent:
            return Unknown("timeout", f"no answer within {timeout_s:g} s")
        return Refused(RefusalKind.CONNECT, "no connection could be made in time")
    text = str(error) or type(error).__name__
    if is_sent:
        return Unknown("disconnected", text)
    # A ValueError is about what the user wrote, an address or a proxy that is none; but a
    # certificate that is not accepted is one, too, and an OSError besides.
    mistaken = isinstance(error, ValueError) and not isinstance(error, OSError)
    return Refused(RefusalKind.TIER if mistaken else RefusalKind.CONNECT, text)


def _reply(wire: Wire, document: Any, latency_ms: float) -> Reply:
    try:
        return wire.reply(document, latency_ms)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        # A document of another shape than the format has. Which part is odd does not matter.
        raise UnreadableError(f"the answer does not have the expected shape: {error!r}") from None


def _proxy(url: URL) -> tuple[URL | None, str | None]:
    """The proxy that the environment names for this address, and its password.

    The usual variables count (HTTPS_PROXY, NO_PROXY and so on), but never for this machine itself:
    a proxy could not reach it.
    """
    host = url.host or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None, None
    address = getproxies().get(url.scheme)
    if not address:
        return None, None
    proxy = URL(address if "://" in address else f"http://{address}")
    return proxy, proxy.password
