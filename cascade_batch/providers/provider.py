"""What the engine asks of a provider, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cascade_batch.domain.answer import Outcome
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier

T = TypeVar("T")


class Provider(Protocol):
    """One way of asking a model. Knows nothing of budgets, limits or retries."""

    def request_body(self, tier: Tier, prompt: Prompt, output: Output) -> bytes:
        """The bytes that `call` will send. Pure: the same arguments give the same bytes.

        Needs no connection, key or running loop: the submitter calls it for every row to learn
        its worst case, which is bounded by the number of these bytes.

        Raises:
            UsageError: The prompt can't be written for this provider.
        """
        ...

    def body_family(self, tier: Tier) -> str:
        """Requests of two tiers of one family, for the same prompt, differ by bytes that don't depend on
        the prompt: whose request is known by its size has that of the others."""
        ...

    def request_end(self, tier: Tier, output: Output) -> bytes:
        """What every request to the tier ends with, whatever the prompt: what comes before it is the same
        for all tiers of a family, and says all that a request says of the prompt."""
        ...

    def answerer(self, tier: Tier) -> bytes | None:
        """Who answers: what determines a tier's answers beside the bytes of the request. Never a key.

        None: nothing does for sure, so that what was answered once says nothing about what would be now.
        """
        ...

    async def call(self, tier: Tier, body: bytes) -> Outcome:
        """Make one call: one request, never a retry.

        Whatever goes wrong at the provider or on the way comes back as `Refused` or `Unknown`;
        only cancellation is raised.
        """
        ...

    async def close(self) -> None:
        """Let go of what calls needed, in the loop that made them."""
        ...


class PerTier(Generic[T]):
    """What is worked out once for a tier and then used for every row.

    Looked up by identity, as hashing a tier would cost more than most of what is kept. Workers
    read tiers from job specifications again and again, so old entries have to go: when full, all
    of them do, which is cheaper than keeping count of use.
    """

    def __init__(self, make: Callable[[Tier], T], capacity: int = 256) -> None:
        self._make = make
        self._capacity = capacity
        self._made: dict[int, tuple[Tier, T]] = {}

    def __getitem__(self, tier: Tier) -> T:
        # The tier is held beside the value, so that its id can't be taken by another one.
        found = self._made.get(id(tier))
        if found is not None:
            return found[1]
        value = self._make(tier)
        if len(self._made) >= self._capacity:
            self._made.clear()
        self._made[id(tier)] = (tier, value)
        return value
