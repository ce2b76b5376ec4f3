"""Requests over HTTP/1.1, as thin as they can be.

A call's CPU goes for the most part into the client: aiohttp's session takes a multiple of what connection,
parser and event loop need for the same exchange (`benchmarks/client_overhead.py`), for cookies, redirects,
streams, traces and forms that no provider's call uses. So a call goes straight to a connection: one write,
llhttp (`httptools`) on what comes back, one future. What is left out is left out on purpose: redirects are
answers like any other, nothing is retried, no cookie is kept.

Behind a proxy, aiohttp does it (`proxied`), whose tunnels are proven; few proxies carry thousands of calls
a second. Only there is it imported: that takes a tenth of a second, which every command would wait for.
"""

from cascade_batch.providers.http.direct import DirectConnections
from cascade_batch.providers.http.message import Address, Request, Response, request_head

__all__ = [
    "Address",
    "DirectConnections",
    "Request",
    "Response",
    "request_head",
]
