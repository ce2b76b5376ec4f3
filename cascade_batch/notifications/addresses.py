"""Where messages may be sent to.

A message is a request from inside the network in which the sweeper runs, to an address that somebody
else gave. So without leave it goes to public addresses only, encrypted, and to this machine where the
address names it as `localhost` or by its number. What a name resolves to is looked at once, and that is
what is connected to: a name can't turn out to be another machine's in between.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

ALLOW_VARIABLE = "CASCADE_NOTIFY_ALLOW"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """Nothing may be sent there; the text says why, and what would allow it."""


class AllowedHosts:
    """Hosts that may be told things without encryption, or inside the own network."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Make it of names (`hooks.corp.example`), numbers, and ends of names (`.corp.example`)."""
        self._names = {name.strip().lower() for name in names if name.strip()}

    def __contains__(self, host: object) -> bool:
        name = str(host).lower()
        return name in self._names or any(
            name.endswith(end) for end in self._names if end.startswith(".")
        )

    def check(self, url: str) -> None:
        """Make sure that messages may go to an address, as far as it shows without resolving its name.

        Raises:
            ForbiddenAddressError: They may not.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host in self or _is_this_machine(host):
            return
        if parts.scheme != "https":
            raise ForbiddenAddressError(f"http:// is for this machine only; {_leave(host)}")
        number = _number(host)
        if number is not None and not _is_public(number):
            raise ForbiddenAddressError(f"{host} is no public address; {_leave(host)}")


class PublicResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that nothing may be sent to."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The name's addresses.

        Raises:
            ForbiddenAddressError: It has none but such that nothing may be sent to.
        """
        found = await self._inner.resolve(host, port, family)
        if host in self._allowed:
            return found
        wanted = _is_loopback if _is_this_machine(host) else _is_public
        public = [one for one in found if (n := _number(one["host"])) is not None and wanted(n)]
        if not public:
            raise ForbiddenAddressError(f"its name belongs to no public address; {_leave(host)}")
        return public

    async def close(self) -> None:
        """Nothing is held."""


_Number = ipaddress.IPv4Address | ipaddress.IPv6Address


def _number(host: str) -> _Number | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    number = _number(host)
    return host.lower() == "localhost" if number is None else number.is_loopback


def _is_loopback(number: _Number) -> bool:
    return number.is_loopback


def _is_public(number: _Number) -> bool:
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour
        if inner is None and number in _NAT64:
            inner = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return number.is_global and not number.is_multicast


def _leave(host: str) -> str:
    return f"{ALLOW_VARIABLE}={host}, where the sweeper runs, allows it"
