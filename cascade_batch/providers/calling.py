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
from dataclasses import replace
from typing import Any
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from cascade_batch import __version__
from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.credentials import presentable
from cascade_batch.providers.http import Address, Request, Response, request_head
from cascade_batch.providers.reading import UnreadableError, parse_json, unpacked
from cascade_batch.providers.refusals import refusal
from cascade_batch.providers.wire import HttpSession, Wire


class Caller:
    """Makes the calls of one tier."""

    def __init__(self, tier: Tier, wire: Wire) -> None:
        """Raises ValueError if the address or that of its proxy is none."""
        self._wire = wire
        self._address = Address(wire.url)
        self._proxy, self._proxy_password = _proxy(self._address.url)
        self._timeout_s = tier.timeout_s
        self._key: str | None = None
        self._headers: dict[str, str] | None = None
        self._head = b""

    async def call(self, session: HttpSession, body: bytes, key: str | None) -> Outcome:
        """One call, by the rules at the top of this module."""
        request = Request(body)
        try:
            started_s = time.perf_counter()
            response = await self._post(session, request, key)
            latency_ms = (time.perf_counter() - started_s) * 1000.0
            content = unpacked(response.packed, response.encoding)
            if response.status >= 300:
                refused = refusal(response.status, response.headers, content)
                return replace(refused, message=self._message(refused.message, key))
            return Answered(_reply(self._wire, parse_json(content), latency_ms))
        except (UnreadableError, OSError, ValueError) as error:
            outcome = _failed(error, is_sent=request.is_sent, timeout_s=self._timeout_s)
            return replace(outcome, message=self._message(outcome.message, key))

    def _message(self, text: str, key: str | None) -> str:
        """`text` fit to be shown, with the server that it is about."""
        return presentable(f"{self._address.host}: {text}", key, self._proxy_password)

    def _current_headers(self, key: str | None) -> dict[str, str]:
        if self._headers is None or key != self._key:
            self._headers = {
                "User-Agent": f"cascade-batch/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                **self._wire.headers(key),
            }
            self._head = request_head(self._address, self._headers)
            self._key = key
        return self._headers

    async def _post(self, session: HttpSession, request: Request, key: str | None) -> Response:
        headers = self._current_headers(key)
        if self._proxy is None:
            return await session.direct.post(self._address, self._head, request, self._timeout_s)
        return await session.proxied.post(
            self._address, headers, request, self._timeout_s, self._proxy
        )


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
