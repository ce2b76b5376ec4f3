"""Money: integers of nano-dollars, rounded up per call.

Prices per token are kept in pico-dollars (1 USD per million tokens is 10**6 pico-dollars per token),
because published prices such as 0.0375 USD per million are no whole number of nano-dollars per token.
A cost is summed in pico-dollars and rounded up to nano-dollars once per call. No `float` takes part:
a price given as a float is read through its shortest decimal form.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cascade_batch.domain.fixed import fixed

NANOUSD_PER_USD = 10**9
PICOUSD_PER_NANOUSD = 10**3
PICOUSD_PER_TOKEN_PER_USD_PER_MTOK = 10**6
MAX_BUDGET_NANOUSD = 2**63 - 1
"""What a Postgres `bigint` holds: about 9.2 billion dollars."""


def usd_to_nanousd(value: str | int | float | Decimal) -> int:
    """Turn dollars into nano-dollars, rounded down (a budget is never read as more than was given).

    Raises:
        ValueError: The value is no number, negative, not finite, or more than a `bigint` holds.
    """
    text = str(value).strip().removeprefix("$").replace(",", "").replace("_", "")
    try:
        usd = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount of dollars") from None
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{value!r} is not an amount of dollars of zero or more")
    # Compared before it is multiplied, which a number such as 1e999999 would overflow.
    if usd > Decimal(MAX_BUDGET_NANOUSD) / NANOUSD_PER_USD:
        raise ValueError(f"{value!r} is more than the largest budget, 9,223,372,036 dollars")
    return int((usd * NANOUSD_PER_USD).to_integral_value(rounding=ROUND_FLOOR))


def nanousd_to_usd(nanousd: int) -> Decimal:
    """Exact dollars of an amount, for display and JSON; never an input to arithmetic on money."""
    return Decimal(nanousd) / NANOUSD_PER_USD


def format_usd(nanousd: int) -> str:
    """`$1,234.56` from a dollar on; below it as many digits as show four significant ones."""
    usd = nanousd_to_usd(nanousd)
    size = abs(usd)
    if size == 0:
        return "$0.00"
    if size >= 1:
        return f"${usd:,.2f}" if usd > 0 else f"-${-usd:,.2f}"
    places = min(9, 3 - size.adjusted())
    return f"${usd:.{places}f}" if usd > 0 else f"-${-usd:.{places}f}"


def enough_usd(nanousd: int) -> str:
    """Dollars to type where an amount is needed: four significant digits, never less than the amount."""
    step = 10 ** max(len(str(nanousd)) - 4, 0)
    usd = f"{nanousd_to_usd(-(-nanousd // step) * step):.9f}"
    return usd.rstrip("0").rstrip(".")


def usd_per_mtok_to_picousd(value: str | int | float | Decimal) -> int:
    """USD per million tokens as pico-dollars per token, rounded up."""
    return int(
        (Decimal(str(value)) * PICOUSD_PER_TOKEN_PER_USD_PER_MTOK).to_integral_value(
            rounding=ROUND_CEILING
        )
    )


@fixed
class Usage:
    """Tokens that a provider says it billed, none below 0. `cached_input_tokens` are part of `input_tokens`,
    `reasoning_tokens` part of `output_tokens`; cache writes are part of `input_tokens` as well."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class PriceStep(BaseModel):
    """Prices of a call whose input is longer than `above_input_tokens`, in pico-dollars per token.

    Providers that price long contexts bill the whole call at the step that its input reaches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    above_input_tokens: int = 0
    input_picousd: Annotated[int, Field(ge=0)] = 0
    cached_input_picousd: Annotated[int, Field(ge=0)] | None = None
    cache_write_picousd: Annotated[int, Field(ge=0)] | None = None
    output_picousd: Annotated[int, Field(ge=0)] = 0


class Price(BaseModel):
    """What a tier costs, frozen into the job at submission."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[PriceStep, ...] = (PriceStep(),)
    call_nanousd: Annotated[int, Field(ge=0)] = 0
    second_nanousd: Annotated[int, Field(ge=0)] = 0
    source: str = "declared"

    def cost_nanousd(self, usage: Usage, seconds: float = 0.0) -> int:
        """Cost of one call, rounded up to a nano-dollar."""
        input_tokens = usage.input_tokens
        steps = self._rising
        step = steps[0]
        for later in steps[1:]:
            if later.above_input_tokens >= max(input_tokens, 1):
                break
            step = later
        picousd = input_tokens * step.input_picousd + usage.output_tokens * step.output_picousd
        cached = min(usage.cached_input_tokens, input_tokens)
        written = min(usage.cache_write_tokens, input_tokens - cached)
        # What was cached or written is in the input already, at the input's price.
        if cached and step.cached_input_picousd is not None:
            picousd += cached * (step.cached_input_picousd - step.input_picousd)
        if written and step.cache_write_picousd is not None:
            picousd += written * (step.cache_write_picousd - step.input_picousd)
        return _round_up(picousd) + self.call_nanousd + self._seconds_nanousd(seconds)

    def worst_case_nanousd(
        self, input_tokens: int, output_tokens: int, seconds: float = 0.0
    ) -> int:
        """Upper bound of a call's cost: the dearest step that up to `input_tokens` can reach, and
        the dearest way in which an input token can be billed there."""
        picousd = 0
        for above_tokens, input_picousd, output_picousd in self._dearest:
            if above_tokens < max(input_tokens, 1):
                at_step = input_tokens * input_picousd + output_tokens * output_picousd
                picousd = max(picousd, at_step)
        return _round_up(picousd) + self.call_nanousd + self._seconds_nanousd(seconds)

    @cached_property
    def _dearest(self) -> tuple[tuple[int, int, int], ...]:
        """Of each step: where it begins, the dearest way to bill an input token, an output token. Kept, as
        every row asks for it."""
        return tuple(
            (
                s.above_input_tokens,
                max(s.input_picousd, s.cached_input_picousd or 0, s.cache_write_picousd or 0),
                s.output_picousd,
            )
            for s in self.steps
        )

    @cached_property
    def _rising(self) -> tuple[PriceStep, ...]:
        """The steps by where they begin. Kept, as every answer asks for it."""
        # Of two that begin at the same place, the first counts.
        by_start = {step.above_input_tokens: step for step in reversed(self.steps)}
        return tuple(by_start[start] for start in sorted(by_start))

    def _seconds_nanousd(self, seconds: float) -> int:
        if not self.second_nanousd:
            return 0
        # Not `-(-x // 1)`: decimals are cut towards zero, so that it would round down.
        microseconds = math.ceil(Decimal(str(seconds)) * 10**6)
        return -(-microseconds * self.second_nanousd // 10**6)


def _round_up(picousd: int) -> int:
    return -(-picousd // PICOUSD_PER_NANOUSD)
