"""The providers of a worker process."""

from __future__ import annotations

from cascade_batch.domain.answer import Outcome
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Api, Tier
from cascade_batch.providers.provider import Provider
from cascade_batch.providers.wire import HttpProvider, HttpSession


class Providers:
    """Every provider, one of each per process, over one pool of connections.

    Making it costs nothing and needs no loop: a provider is loaded for the first tier that has it, as those
    that nobody uses would be most of what a command loads; connections, threads and models are made by the
    first call that needs them, in the loop that runs then. Make it after the fork, and close it in the loop
    that made the calls.
    """

    def __init__(self) -> None:
        self._session = HttpSession()
        self._by_api: dict[str, Provider] = {}

    def for_tier(self, tier: Tier) -> Provider:
        """The provider of a tier's `api`."""
        found = self._by_api.get(tier.api)
        if found is None:
            found = self._by_api[tier.api] = _provider(tier.api, self._session)
        return found

    def request_body(self, tier: Tier, prompt: Prompt, output: Output) -> bytes:
        """See `Provider.request_body`."""
        return self.for_tier(tier).request_body(tier, prompt, output)

    def body_family(self, tier: Tier) -> str:
        """See `Provider.body_family`."""
        return self.for_tier(tier).body_family(tier)

    def request_end(self, tier: Tier, output: Output) -> bytes:
        """See `Provider.request_end`."""
        return self.for_tier(tier).request_end(tier, output)

    def answerer(self, tier: Tier) -> bytes | None:
        """See `Provider.answerer`."""
        return self.for_tier(tier).answerer(tier)

    async def call(self, tier: Tier, body: bytes) -> Outcome:
        """See `Provider.call`."""
        return await self.for_tier(tier).call(tier, body)

    async def close(self) -> None:
        """Close connections, and let go of threads and local models."""
        for provider in self._by_api.values():
            await provider.close()
        await self._session.close()


def _provider(api: Api, session: HttpSession) -> Provider:
    match api:
        case "openai":
            from cascade_batch.providers.openai import OpenAIWire

            return HttpProvider(session, OpenAIWire)
        case "anthropic":
            from cascade_batch.providers.anthropic import AnthropicWire

            return HttpProvider(session, AnthropicWire)
        case "python":
            from cascade_batch.providers.python_function import PythonFunctionProvider

            return PythonFunctionProvider()
        case "local":
            from cascade_batch.providers.local_gguf import LocalGgufProvider

            return LocalGgufProvider(session)
