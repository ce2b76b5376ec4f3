"""One small call to every tier: is it reachable, what does it say of prices and log-probabilities?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cascade_batch.domain.answer import Answered
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers

_PROMPT = Prompt([{"role": "user", "content": "Reply with the single word: ok"}])
_MOST_OUTPUT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class TierCheck:
    """What came of the call to one tier.

    Attributes:
        error: Why there is no answer; None if there is one.
        gives_logprobs: Whether the answer had log-probabilities; None if they weren't asked for.
        reports_usage: Whether the answer said what was billed.
        cost_nanousd: What the call cost; the worst case where that can't be known.
    """

    tier: Tier
    error: str | None
    latency_ms: float | None = None
    gives_logprobs: bool | None = None
    reports_usage: bool = False
    cost_nanousd: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether the tier can be used as it is declared."""
        return self.error is None and self.gives_logprobs is not False


async def check_tiers(tiers: Sequence[Tier]) -> list[TierCheck]:
    """Make one call to each tier, all at the same time.

    Args:
        tiers: Priced tiers.
    """
    providers = Providers()
    try:
        return list(await asyncio.gather(*(_check(providers, tier) for tier in tiers)))
    finally:
        await providers.close()


async def _check(providers: Providers, tier: Tier) -> TierCheck:
    small = tier.model_copy(
        update={"max_output_tokens": min(tier.max_output_tokens, _MOST_OUTPUT_TOKENS)}
    )
    body = providers.request_body(small, _PROMPT, Output())
    outcome = await providers.call(small, body)
    if not isinstance(outcome, Answered):
        return TierCheck(tier, outcome.message)
    reply = outcome.reply
    price = tier.bound_price
    seconds = reply.latency_ms / 1000
    return TierCheck(
        tier,
        None,
        latency_ms=reply.latency_ms,
        gives_logprobs=reply.logprobs is not None if tier.logprobs else None,
        reports_usage=reply.usage is not None,
        cost_nanousd=(
            price.cost_nanousd(reply.usage, seconds)
            if reply.usage is not None
            else price.worst_case_nanousd(
                len(body) + tier.overhead_tokens, small.max_output_tokens, seconds
            )
        ),
    )
