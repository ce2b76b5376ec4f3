"""The worst case: never below what a call can be billed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Price, PriceStep, Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import CascadeError
from cascade_batch.providers import Providers, UnboundedInputError, worst_case_nanousd

PRICE = st.integers(0, 10**8)
STEPS = st.lists(
    st.builds(
        PriceStep,
        above_input_tokens=st.integers(1, 5_000),
        input_picousd=PRICE,
        cached_input_picousd=st.none() | PRICE,
        cache_write_picousd=st.none() | PRICE,
        output_picousd=PRICE,
    ),
    max_size=3,
).map(lambda steps: (PriceStep(input_picousd=7, output_picousd=11), *steps))


def tier_of(price: Price, **more: Any) -> Tier:
    return Tier(name="t", model="m", base_url="https://x.example", frozen_price=price, **more)


@given(
    steps=STEPS,
    body_bytes=st.integers(0, 10_000),
    output_tokens=st.integers(0, 300),
    parts=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    seconds=st.floats(0, 60.9),
)
def test_no_usage_within_the_bounds_costs_more(
    steps: tuple[PriceStep, ...],
    body_bytes: int,
    output_tokens: int,
    parts: tuple[float, float, float],
    seconds: float,
) -> None:
    price = Price(steps=steps, call_nanousd=3, second_nanousd=1_000)
    tier = tier_of(price, max_output_tokens=300, overhead_tokens=64, timeout_s=60)
    input_tokens = int((body_bytes + 64) * parts[0])
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=int(input_tokens * parts[1]),
        cache_write_tokens=int(input_tokens * parts[2]),
    )
    worst = worst_case_nanousd(tier, body_bytes, text_only=True)
    assert price.cost_nanousd(usage, seconds) <= worst


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_body_has_no_fewer_bytes_than_its_text_can_have_tokens(text: str) -> None:
    # A token of a byte-level tokenizer covers at least one byte of UTF-8.
    for api in ("openai", "anthropic"):
        tier = Tier(name="t", model="m", api=api, base_url="https://x.example")
        body = Providers().request_body(tier, Prompt([{"role": "user", "content": text}]), Output())
        assert len(body) >= len(text.encode())


def test_content_that_bytes_do_not_bound_needs_a_bound() -> None:
    price = Price(steps=(PriceStep(input_picousd=1_000),))
    with pytest.raises(UnboundedInputError) as caught:
        worst_case_nanousd(tier_of(price), 100, text_only=False)
    assert isinstance(caught.value, CascadeError)
    assert "'t'" in caught.value.message
    assert "max_input_tokens" in (caught.value.hint or "")
    bounded = tier_of(price, max_input_tokens=5_000, overhead_tokens=0)
    assert worst_case_nanousd(bounded, 100, text_only=False) == 5_000
    # A row of text is bounded by its bytes on the same tier.
    assert worst_case_nanousd(bounded, 100, text_only=True) == 100


def test_a_tier_without_a_price_has_no_worst_case() -> None:
    with pytest.raises(ValueError, match="no frozen price"):
        worst_case_nanousd(Tier(name="t", model="m"), 100, text_only=True)
