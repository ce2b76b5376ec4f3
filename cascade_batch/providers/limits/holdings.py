"""What one process holds of a tier's limits: blocks of requests and tokens, a share of the calls."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_batch.domain.tier import Limits
from cascade_batch.providers.limits.allowance import Allowance
from cascade_batch.providers.limits.appetite import BLOCK_S, Appetite
from cascade_batch.providers.limits.bucket import HOLD_S, BucketRequest, BucketSize
from cascade_batch.providers.limits.coordination import Demand, Grant, ShareRequest

LOW_S = 0.1
"""The next block is due when the one held lasts no longer than this."""

RENEW_S = 0.375
"""What expires within this time goes back and is asked for anew: a tick and a half of the gate, so
that it is done before it is too late."""


@dataclass(frozen=True, slots=True)
class Need:
    """Calls that would start now if they were let.

    Attributes:
        calls: Their number, no more than the window has room for.
        tokens: Their tokens together.
        first_tokens: The tokens of the first, which can't do with less.
        in_flight: Calls under way.
        in_flight_peak: The most that were under way at once since the need was last stated.
    """

    calls: int
    tokens: int
    first_tokens: int
    in_flight: int
    in_flight_peak: int


class Holdings:
    """Requests, tokens and the share of calls in flight that this process may use.

    Times are seconds of one monotonic clock.

    Attributes:
        share: Calls that may be in flight; None: the tier has no such limit.
        is_metered: The tier has a limit of requests or tokens.
        is_low: A block nears its end.
        is_short: Less was granted last time than was wanted: asking at once again is no use.
        has_taken: Requests or tokens were granted before.
    """

    def __init__(self, now: float) -> None:
        self.share: int | None = None
        self.is_metered = False
        self.is_low = False
        self.is_short = False
        self.has_taken = False
        self._limits = Limits()
        self._requests = Allowance()
        self._tokens = Allowance()
        self._appetite = Appetite(now)
        self._low_calls = 0
        self._low_tokens = 0

    def declare(self, limits: Limits) -> None:
        """Set the tier's limits."""
        if limits.concurrency is None:
            self.share = None
        elif self.share is None:
            self.share = 0
        self._limits = limits
        self.is_metered = limits.rpm is not None or limits.tpm is not None

    def take(self, tokens: int, now: float) -> bool:
        """Take a request and `tokens` tokens, if there are both."""
        if self._limits.rpm is not None:
            if not self._requests.has(1, now):
                return False
            if self._limits.tpm is not None and not self._tokens.has(tokens, now):
                return False
            self._requests.take(1)
            if self._requests.held < self._low_calls:
                self.is_low = True
        elif not self._tokens.has(tokens, now):
            return False
        if self._limits.tpm is not None:
            self._tokens.take(tokens)
            if self._tokens.held < self._low_tokens:
                self.is_low = True
        self._appetite.calls += 1
        self._appetite.tokens += tokens
        return True

    def restore(self, requests: int, tokens: int, now: float) -> None:
        """Put back what was taken and not used; negative tokens: more was used than was taken."""
        if self._limits.rpm is not None and requests:
            self._requests.restore(requests, now + HOLD_S)
        if self._limits.tpm is not None and tokens:
            if tokens > 0:
                self._tokens.restore(tokens, now + HOLD_S)
            else:
                self._tokens.take(-tokens)

    def calls_covered(self, at_most: int, tokens_each: int, now: float) -> int:
        """How many calls of `tokens_each` tokens the blocks suffice for, up to `at_most`."""
        if self._limits.rpm is not None and not self._requests.has(at_most, now):
            at_most = max(0, self._requests.held)
        if self._limits.tpm is not None and not self._tokens.has(at_most * tokens_each, now):
            at_most = max(0, self._tokens.held // tokens_each) if tokens_each else 0
        return at_most

    def judge(self, now: float) -> None:
        """Update what is expected from what was started since the last time."""
        self._appetite.judge(now)

    def expect_nothing(self) -> None:
        """No calls are expected for now: all goes back."""
        self._appetite.forget()

    def state_requests(self, need: Need, now: float, *, keep: bool) -> BucketRequest | None:
        """What to ask of the bucket of requests; what is given back is taken out.

        Args:
            keep: Nothing is given back, as it would not arrive.
        """
        if self._limits.rpm is None:
            return None
        block = self._appetite.block_calls
        self._low_calls = round(block * LOW_S / BLOCK_S)
        size = BucketSize.for_limit(self._limits.rpm)
        return _state(self._requests, size, need.calls + block, 1, now, keep=keep)

    def state_tokens(self, need: Need, now: float, *, keep: bool) -> BucketRequest | None:
        """The same for the bucket of tokens."""
        if self._limits.tpm is None:
            return None
        block = self._appetite.block_tokens
        self._low_tokens = round(block * LOW_S / BLOCK_S)
        size = BucketSize.for_limit(self._limits.tpm)
        return _state(self._tokens, size, need.tokens + block, need.first_tokens, now, keep=keep)

    def state_share(self, need: Need, *, is_leaving: bool) -> ShareRequest | None:
        """What to ask of the calls that the tier may have in flight.

        Args:
            is_leaving: No more calls will start.
        """
        if self._limits.concurrency is None:
            return None
        if is_leaving:
            return ShareRequest(self._limits.concurrency, held=need.in_flight, wanted=0)
        return ShareRequest(
            self._limits.concurrency,
            held=max(self.share or 0, need.in_flight),
            wanted=max(need.in_flight_peak, need.in_flight + need.calls),
        )

    def drop_share(self) -> None:
        """Nothing of the share is held any more, but for the calls that are in flight."""
        if self.share is not None:
            self.share = 0

    def receive(self, grant: Grant, demand: Demand, asked_at: float) -> None:
        """Take what was granted. Its time begins when it was asked for, as nobody here knows when
        after that it was granted."""
        requests, tokens, share = demand.requests, demand.tokens, demand.share
        self._requests.add(grant.requests, asked_at + HOLD_S)
        self._tokens.add(grant.tokens, asked_at + HOLD_S)
        self.has_taken = self.has_taken or grant.requests > 0 or grant.tokens > 0
        if self._limits.concurrency is not None and grant.share is not None:
            self.share = grant.share
        self.is_low = False
        self.is_short = (
            (requests is not None and grant.requests < requests.wanted)
            or (tokens is not None and grant.tokens < tokens.wanted)
            or (share is not None and grant.share is not None and grant.share < share.wanted)
        )


def _state(
    held: Allowance, size: BucketSize, target: int, first: int, now: float, *, keep: bool
) -> BucketRequest:
    held.has(0, now)
    back = 0 if keep else held.surrender(target, now + RENEW_S)
    wanted = max(0, target - held.held)
    needed = min(wanted, max(1, first - held.held))
    return BucketRequest(size=size, wanted=wanted, needed=needed, given_back=back)
