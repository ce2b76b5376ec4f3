"""What goes out and what comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from multidict import CIMultiDict
from yarl import URL

_NO_HEADER = re.compile("[\0\r\n]")
_HOST = re.compile(r"[A-Za-z0-9._~-]+")


class Address:
    """Where a tier's requests go: a URL, taken apart once.

    Attributes:
        host: The server's name, in ASCII, or its IP address.
        target: The path and query, as they are sent.
        origin: What connections can be shared for: whether it is TLS, host and port.
    """

    __slots__ = ("host", "origin", "target", "url")

    def __init__(self, url: str) -> None:
        """Raises ValueError if the URL is none."""
        self.url = URL(url)
        self.host = self.url.raw_host or ""
        if not _HOST.fullmatch(self.host):
            ip_address(self.host)
        self.target = self.url.raw_path_qs
        self.origin = (self.url.scheme == "https", self.host, self.url.port or 0)


def request_head(address: Address, headers: dict[str, str]) -> bytes:
    """Everything of a POST before the value of its Content-Length.

    Raises:
        ValueError: A header can't be sent.
    """
    lines = [f"POST {address.target} HTTP/1.1", f"Host: {address.url.host_port_subcomponent}"]
    for name, value in headers.items():
        if _NO_HEADER.search(value):
            raise ValueError(f"the header {name} holds a line break")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "Content-Type: application/json", "Content-Length: "]).encode()


@dataclass(slots=True)
class Request:
    """A request's body.

    Attributes:
        is_sent: Whether any of the request was handed to a connection: from then on it may be billed.
    """

    body: bytes
    is_sent: bool = False


@dataclass
class Response:
    """An answer that was read to its end.

    Attributes:
        fields: Its headers as they came.
        packed: Its body, as its Content-Encoding has it; empty for redirects, of which it is not read.
    """

    status: int
    fields: list[tuple[bytes, bytes]]
    packed: bytes
    encoding: str | None

    @cached_property
    def headers(self) -> CIMultiDict[str]:
        """The headers, found in whatever case."""
        return CIMultiDict((n.decode("latin-1"), v.decode("latin-1")) for n, v in self.fields)
