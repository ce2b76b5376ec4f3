"""Connections through a proxy, by aiohttp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from cascade_batch.providers.http.direct import CONNECT_TIMEOUT_S, KEEP_ALIVE_S, NAMES_KEPT_S
from cascade_batch.providers.http.message import Address, Request, Response
from cascade_batch.providers.reading import MAX_BODY_BYTES, too_large


class _Body(Payload):
    """A request's body that tells the request when any of it was handed to a connection.

    aiohttp keeps the headers back and writes them together with the first bytes of the body, so
    up to the first write nothing at all has left.
    """

    _autoclose = True

    def __init__(self, request: Request) -> None:
        super().__init__(request.body, content_type="application/json")
        self._size = len(request.body)
        self._request = request

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
        self._request.is_sent = True
        await writer.write(self._value)


class ProxiedConnections:
    """See the module. Belongs to the loop that runs when it is made."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=int(NAMES_KEPT_S), keepalive_timeout=KEEP_ALIVE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def post(
        self,
        address: Address,
        headers: dict[str, str],
        request: Request,
        timeout_s: float,
        proxy: URL,
    ) -> Response:
        """As `DirectConnections.post`."""
        with _errors_of_the_system():
            response = await self._session.post(
                address.url,
                data=_Body(request),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=timeout_s,
                    sock_connect=min(CONNECT_TIMEOUT_S, timeout_s),
                    # By default aiohttp rounds time-outs above 5 s up to whole seconds.
                    ceil_threshold=float("inf"),
                ),
                proxy=proxy,
                allow_redirects=False,
            )
            # Not `async with`: it would wait for the rest of the request to be sent, without end where
            # a server answers before it has read all of it.
            try:
                is_redirect = 300 <= response.status < 400
                packed = b"" if is_redirect else await _read(response)
            finally:
                response.close()
        encoding = response.headers.get("Content-Encoding")
        return Response(response.status, list(response.raw_headers), packed, encoding)

    async def close(self) -> None:
        """Hang up everywhere."""
        await self._session.close()


@contextmanager
def _errors_of_the_system() -> Iterator[None]:
    """Turn aiohttp's errors into those that a connection of our own raises: who calls knows no aiohttp."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    announced = response.content_length
    if announced is not None and announced > MAX_BODY_BYTES:
        raise too_large()
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise too_large()
        chunks.append(chunk)
    return b"".join(chunks)
