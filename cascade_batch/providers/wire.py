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
from typing import TYPE_CHECKING, Any, Protocol
from urllib.request import getproxies, proxy_bypass

import orjson
from yarl import URL

from cascade_batch import __version__
from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.credentials import presentable, read_key
from cascade_batch.providers.http import (
    Address,
    DirectConnections,
    Request,
    Response,
    request_head,
)
from cascade_batch.providers.provider import PerTier
from cascade_batch.providers.reading import UnreadableError, parse_json, unpacked
from cascade_batch.providers.refusals import refusal

if TYPE_CHECKING:
    from cascade_batch.providers.http.proxied import ProxiedConnections


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

    def body_end(self, output: Output) -> bytes:
        """See `Provider.request_end`."""
        ...

    def reply(self, document: Any, latency_ms: float) -> Reply:
        """Read an answer with status 200 to 299.

        Raises:
            UnreadableError: It holds no answer.
        """
        ...


class HttpSession:
    """The connections of a worker process, made when the first call needs them.

    Lazily, as they belong to the loop that runs then, and a worker forks before it has one.
    """

    def __init__(self) -> None:
        self._direct: DirectConnections | None = None
        self._proxied: ProxiedConnections | None = None

    @property
    def direct(self) -> DirectConnections:
        """Those without a proxy; needs a running loop."""
        if self._direct is None:
            self._direct = DirectConnections()
        return self._direct

    @property
    def proxied(self) -> ProxiedConnections:
        """Those through a proxy; needs a running loop."""
        if self._proxied is None:
            from cascade_batch.providers.http.proxied import ProxiedConnections

            self._proxied = ProxiedConnections()
        return self._proxied

    async def close(self) -> None:
        """Close the connections."""
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._proxied is not None:
            await self._proxied.close()
            self._proxied = None


class _Prepared:
    """What the calls of one tier have in common."""

    def __init__(self, tier: Tier, wire: Wire) -> None:
        """Raises ValueError if the address or that of its proxy is none."""
        self.wire = wire
        self.address = Address(wire.url)
        self.proxy, self.proxy_password = _proxy(self.address.url)
        self.timeout_s = tier.timeout_s
        self._key: str | None = None
        self._headers: dict[str, str] | None = None
        self._head = b""

    def message(self, text: str, key: str | None) -> str:
        """`text` fit to be shown, with the server that it is about."""
        return presentable(f"{self.address.host}: {text}", key, self.proxy_password)

    def headers(self, key: str | None) -> dict[str, str]:
        if self._headers is None or key != self._key:
            self._headers = {
                "User-Agent": f"cascade-batch/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                **self.wire.headers(key),
            }
            self._head = request_head(self.address, self._headers)
            self._key = key
        return self._headers

    async def post(self, session: HttpSession, request: Request, key: str | None) -> Response:
        headers = self.headers(key)
        if self.proxy is None:
            return await session.direct.post(self.address, self._head, request, self.timeout_s)
        return await session.proxied.post(
            self.address, headers, request, self.timeout_s, self.proxy
        )


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

    def request_end(self, tier: Tier, output: Output) -> bytes:
        """See `Provider.request_end`."""
        return self._wires[tier].body_end(output)

    def answerer(self, tier: Tier) -> bytes | None:
        """The format, the address, and headers such as the format's version."""
        wire = self._wires[tier]
        return orjson.dumps([wire.family, wire.url, sorted(wire.headers(None).items())])

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
        request = Request(body)
        try:
            return await self._exchange(prepared, request, key)
        except (UnreadableError, OSError, ValueError) as error:
            outcome = _failed(error, is_sent=request.is_sent, timeout_s=tier.timeout_s)
            return replace(outcome, message=prepared.message(outcome.message, key))

    async def _exchange(self, prepared: _Prepared, request: Request, key: str | None) -> Outcome:
        started_s = time.perf_counter()
        response = await prepared.post(self._session, request, key)
        latency_ms = (time.perf_counter() - started_s) * 1000.0
        content = unpacked(response.packed, response.encoding)
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
