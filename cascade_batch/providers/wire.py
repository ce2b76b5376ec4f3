"""What differs between the wire formats over HTTP, and the provider that all of them share.

Who only writes requests, as a submitter does for every row, loads nothing that makes calls (see `calling`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from cascade_batch.domain.answer import Outcome, RefusalKind, Refused, Reply
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.credentials import presentable, read_key
from cascade_batch.providers.provider import PerTier

if TYPE_CHECKING:
    from cascade_batch.providers.calling import Caller
    from cascade_batch.providers.http import DirectConnections
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
            from cascade_batch.providers.http import DirectConnections

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


class HttpProvider:
    """A provider behind HTTP, in one wire format."""

    def __init__(self, session: HttpSession, make_wire: Callable[[Tier], Wire]) -> None:
        self._session = session
        self._wires = PerTier(make_wire)
        self._callers = PerTier(self._caller)

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
        """See `Provider.call` and the rules at the top of `calling`."""
        key = read_key(tier)
        if isinstance(key, Refused):
            return key
        try:
            caller = self._callers[tier]
        except ValueError as error:
            text = f"Tier {tier.name!r} can't be called at {tier.url}: {error}"
            return Refused(RefusalKind.TIER, presentable(text, key))
        return await caller.call(self._session, body, key)

    async def close(self) -> None:
        """Nothing: the connections are the session's, which others share."""

    def _caller(self, tier: Tier) -> Caller:
        from cascade_batch.providers.calling import Caller

        return Caller(tier, self._wires[tier])
