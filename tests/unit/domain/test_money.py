"""Money: whole nano-dollars, never less than what is owed, never more than the worst case."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.money import (
    MAX_BUDGET_NANOUSD,
    Price,
    PriceStep,
    Usage,
    format_usd,
    nanousd_to_usd,
    usd_per_mtok_to_picousd,
    usd_to_nanousd,
)

picousd = st.integers(0, 10**9)
tokens = st.integers(0, 10**6)


@st.composite
def prices(draw) -> Price:
    bounds = draw(st.lists(st.integers(1, 10**6), max_size=3, unique=True))
    return Price(
        steps=tuple(
            PriceStep(
                above_input_tokens=above,
                input_picousd=draw(picousd),
                cached_input_picousd=draw(st.none() | picousd),
                cache_write_picousd=draw(st.none() | picousd),
                output_picousd=draw(picousd),
            )
            for above in [0, *bounds]
        ),
        call_nanousd=draw(st.integers(0, 10**9)),
        second_nanousd=draw(st.integers(0, 10**6)),
    )


@st.composite
def usages(draw) -> Usage:
    input_tokens = draw(tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=draw(tokens),
        # More cached than there are at all: some servers do say so.
        cached_input_tokens=draw(tokens),
        cache_write_tokens=draw(tokens),
        reasoning_tokens=draw(tokens),
    )


@given(prices(), usages(), st.floats(0, 10**5), tokens, tokens, st.floats(0, 10**5))
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(
    price, usage, seconds, more_in, more_out, more_seconds
):
    worst = price.worst_case_nanousd(
        usage.input_tokens + more_in, usage.output_tokens + more_out, seconds + more_seconds
    )
    assert price.cost_nanousd(usage, seconds) <= worst


@given(prices(), usages(), st.floats(0, 10**5))
def test_a_cost_is_the_exact_price_rounded_up_to_a_nano_dollar(price, usage, seconds):
    step = max(
        (s for s in price.steps if s.above_input_tokens < max(usage.input_tokens, 1)),
        key=lambda s: s.above_input_tokens,
    )
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    per_cached = (
        step.input_picousd if step.cached_input_picousd is None else step.cached_input_picousd
    )
    per_written = (
        step.input_picousd if step.cache_write_picousd is None else step.cache_write_picousd
    )
    picousd_owed = (
        (usage.input_tokens - cached - written) * step.input_picousd
        + cached * per_cached
        + written * per_written
        + usage.output_tokens * step.output_picousd
    )
    owed = Fraction(picousd_owed, 1000) + price.call_nanousd
    cost = price.cost_nanousd(usage)
    assert isinstance(cost, int)
    assert owed <= cost < owed + 1
    timed = price.cost_nanousd(usage, seconds) - cost
    exact = Fraction(str(Decimal(str(seconds)))) * price.second_nanousd
    # A microsecond and a nano-dollar at most.
    assert exact <= timed <= exact + Fraction(price.second_nanousd, 10**6) + 1


@pytest.mark.parametrize(
    ("input_tokens", "expected"),
    [(0, 0), (1, 1), (200_000, 200_000), (200_001, 400_002), (300_000, 600_000)],
)
def test_a_long_context_is_priced_whole_at_the_step_that_it_reaches(input_tokens, expected):
    price = Price(
        steps=(
            PriceStep(input_picousd=1000),
            PriceStep(above_input_tokens=200_000, input_picousd=2000),
        )
    )
    assert price.cost_nanousd(Usage(input_tokens=input_tokens, output_tokens=0)) == expected
    assert price.worst_case_nanousd(input_tokens, 0) == expected


def test_the_worst_case_counts_a_step_that_is_cheaper_beyond_its_bound():
    price = Price(
        steps=(PriceStep(input_picousd=5000), PriceStep(above_input_tokens=10, input_picousd=1000))
    )
    # Ten tokens cost more than eleven here, and a call of up to eleven may have ten.
    assert price.worst_case_nanousd(11, 0) >= price.cost_nanousd(
        Usage(input_tokens=10, output_tokens=0)
    )


@given(st.integers(0, MAX_BUDGET_NANOUSD))
def test_dollars_survive_there_and_back(nanousd):
    assert usd_to_nanousd(nanousd_to_usd(nanousd)) == nanousd
    assert usd_to_nanousd(f"${nanousd_to_usd(nanousd):,f}") == nanousd


@given(st.decimals(0, 10**6, places=12))
def test_a_budget_is_never_read_as_more_than_was_given(usd):
    assert 0 <= usd - nanousd_to_usd(usd_to_nanousd(usd)) < Decimal("1e-9")


@given(st.decimals(0, 10**4, places=9))
def test_a_price_is_never_read_as_less_than_it_is(usd):
    assert 0 <= usd_per_mtok_to_picousd(usd) - usd * 10**6 < 1


def test_a_float_is_read_by_its_shortest_decimal_form():
    assert usd_to_nanousd(0.1) == 100_000_000
    assert usd_per_mtok_to_picousd(0.0375) == 37_500


@pytest.mark.parametrize("value", ["", "ten", "-1", "nan", "inf", "1e30", "--5", "1.2.3"])
def test_what_is_no_amount_of_dollars_is_refused(value):
    with pytest.raises(ValueError, match=r"amount of dollars|largest budget"):
        usd_to_nanousd(value)


@given(st.integers(-(10**15), 10**15))
def test_amounts_are_shown_with_a_sign_and_four_digits_at_least(nanousd):
    shown = format_usd(nanousd)
    assert shown.startswith("-$" if nanousd < 0 else "$")
    value = Decimal(shown.replace("$", "").replace(",", ""))
    exact = nanousd_to_usd(nanousd)
    assert abs(value - exact) <= max(abs(exact) * Decimal("0.0051"), Decimal("1e-9"))
    assert math.isfinite(value)
