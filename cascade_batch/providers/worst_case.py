"""The most that a call can cost, known before it is sent."""

from __future__ import annotations

from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError


class UnboundedInputError(UsageError):
    """A row holds what its bytes don't bound (an image, a sound), and the tier names no bound."""

    def __init__(self, tier: Tier) -> None:
        super().__init__(
            f"Tier {tier.name!r} can't take a row with images or other content that is not text:"
            " nothing bounds its tokens, so the call has no worst case.",
            hint=f"Give tier {tier.name!r} a max_input_tokens that covers the dearest such row.",
        )


def worst_case_nanousd(tier: Tier, body_bytes: int, *, text_only: bool) -> int:
    """Upper bound in nano-dollars of what a call with a body of `body_bytes` can cost.

    Text: a token of a byte-level tokenizer covers at least one byte, so the bytes of the whole
    request bound its tokens; `overhead_tokens` stands for what the server adds (chat template,
    hidden system text). Anything else: `max_input_tokens`, which the user declares for the whole
    input. On top come `max_output_tokens` and, for tiers priced by time, the time-out and a second
    more, as a busy loop may notice the end of an answer late.

    Raises:
        UnboundedInputError: The row is not text only and the tier names no `max_input_tokens`.
        ValueError: The tier was not priced yet.
    """
    if text_only:
        input_tokens = body_bytes + tier.overhead_tokens
    elif tier.max_input_tokens is not None:
        input_tokens = tier.max_input_tokens + tier.overhead_tokens
    else:
        raise UnboundedInputError(tier)
    return tier.bound_price.worst_case_nanousd(
        input_tokens, tier.max_output_tokens, tier.timeout_s + 1.0
    )
