"""Frozen prices against the price table's own arithmetic, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers as table
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TimeOfDateConstraint,
)

from cascade_batch.domain.money import NANOUSD_PER_USD, Usage
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError
from cascade_batch.providers import freeze_price

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "mistral": "https://api.mistral.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "together": "https://api.together.xyz/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "x-ai": "https://api.x.ai/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "azure": "https://us.openai.azure.com/openai/v1",
}
USAGES = [
    Usage(input_tokens=1, output_tokens=0),
    Usage(input_tokens=1_234, output_tokens=567),
    Usage(input_tokens=90_001, output_tokens=33, cached_input_tokens=90_000),
    Usage(input_tokens=200_000, output_tokens=4_001, cached_input_tokens=7),
    Usage(input_tokens=200_001, output_tokens=4_001, cached_input_tokens=50_001),
    Usage(input_tokens=272_001, output_tokens=1),
    Usage(input_tokens=1_000_003, output_tokens=65_537, cached_input_tokens=333_333),
]


def tier_of(provider: str, model: str, **more: Any) -> Tier:
    api = "anthropic" if provider == "anthropic" else "openai"
    return Tier(name="t", model=model, api=api, base_url=ADDRESSES[provider], **more)


def table_nanousd(tier: Tier, usage: Usage, at: datetime, **context: str) -> int:
    """What the table itself makes of a call, rounded up to a nano-dollar."""
    priced = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        tier.model,
        provider_api_url=tier.url,
        genai_request_timestamp=at,
        price_context=context or None,
    )
    exact: Decimal = priced.total_price * NANOUSD_PER_USD
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def all_models() -> list[tuple[str, ModelInfo]]:
    """Every model that can be called by its id in the table (some are called by other names only)."""
    return [
        (p.id, model)
        for p in table
        if p.id in ADDRESSES
        for model in p.models
        if p.find_model(model.id) is model
    ]


def is_dearer_on_purpose(model: ModelInfo) -> bool:
    """Prices that the table leaves open, and of which the dearest is taken."""
    conditions = model.prices if isinstance(model.prices, list) else []
    prices = [c.prices for c in conditions] or [model.prices]
    keys = {key for price in prices for key, value in vars(price).items() if value is not None}
    changes = any(_may_change(condition) for condition in conditions)
    kinds = {k for k in keys if k.startswith("output_") and k.endswith("_mtok")} - {"output_mtok"}
    return changes or bool(kinds)


def _may_change(condition: ConditionalPrice) -> bool:
    constraint = condition.constraint
    if isinstance(constraint, TimeOfDateConstraint):
        return True
    soon = AT.date() + timedelta(days=7)
    return constraint is not None and AT.date() < constraint.start_date <= soon


def test_every_model_costs_what_the_table_says_or_is_refused() -> None:
    exact = bounded = refused = 0
    for provider, model in all_models():
        try:
            tier = freeze_price(tier_of(provider, model.id), at=AT)
        except UsageError:
            refused += 1
            continue
        for usage in USAGES:
            ours = tier.bound_price.cost_nanousd(usage)
            theirs = table_nanousd(tier, usage, AT)
            if is_dearer_on_purpose(model):
                assert ours >= theirs, (provider, model.id, usage)
                bounded += 1
            else:
                assert ours == theirs, (provider, model.id, usage)
                exact += 1
    # Most models of the table must be usable, and most of those to the last nano-dollar.
    assert exact > 5_000
    assert exact > 20 * bounded
    assert refused < len(all_models()) / 5


def test_a_model_is_refused_only_without_token_prices_or_if_it_searches() -> None:
    for provider, model in all_models():
        try:
            freeze_price(tier_of(provider, model.id), at=AT)
        except UsageError:
            prices = model.get_prices(AT)
            by_token = prices.input_mtok is not None and prices.output_mtok is not None
            words = ("search-", "-search", "sonar", "deep-research", "compound")
            assert not by_token or any(word in model.id for word in words), (provider, model.id)


@pytest.mark.parametrize("usage", USAGES)
def test_a_worst_case_covers_every_usage_within_it(usage: Usage) -> None:
    for provider, model in all_models()[::17]:
        try:
            tier = freeze_price(tier_of(provider, model.id), at=AT)
        except UsageError:
            continue
        worst = tier.bound_price.worst_case_nanousd(usage.input_tokens, usage.output_tokens)
        assert worst >= tier.bound_price.cost_nanousd(usage)


def test_a_price_that_changes_with_the_time_of_day_is_the_dearest() -> None:
    tier = freeze_price(tier_of("deepseek", "deepseek-v4-pro"), at=AT)
    usage = Usage(input_tokens=10_000, output_tokens=1_000, cached_input_tokens=500)
    hourly = [table_nanousd(tier, usage, AT + timedelta(hours=h)) for h in range(24)]
    assert min(hourly) < max(hourly)
    assert tier.bound_price.cost_nanousd(usage) == max(hourly)


def rises() -> Iterator[tuple[Tier, datetime]]:
    """Models that became dearer, and when; not those whose price also depends on the hour."""
    for provider, model in all_models():
        conditions = model.prices if isinstance(model.prices, list) else []
        if any(isinstance(c.constraint, TimeOfDateConstraint) for c in conditions):
            continue
        for condition in conditions:
            if isinstance(condition.constraint, StartDateConstraint):
                start = datetime.combine(condition.constraint.start_date, time(), UTC)
                before = model.get_prices(start - timedelta(days=1))
                now = model.get_prices(start)
                if (
                    isinstance(before.output_mtok, Decimal)
                    and isinstance(now.output_mtok, Decimal)
                    and before.output_mtok < now.output_mtok
                ):
                    yield tier_of(provider, model.id), start


def test_a_price_that_rises_within_a_week_counts_now() -> None:
    usage = Usage(input_tokens=10, output_tokens=100_000)
    not_yet = 0
    for tier, start in rises():
        soon = freeze_price(tier, at=start - timedelta(days=3, hours=5)).bound_price
        later = freeze_price(tier, at=start - timedelta(days=20)).bound_price
        assert soon.cost_nanousd(usage) >= table_nanousd(tier, usage, start), tier
        not_yet += later.cost_nanousd(usage) < soon.cost_nanousd(usage)
    assert not_yet > 10


def test_long_contexts_are_priced_by_the_step_that_they_reach() -> None:
    tier = freeze_price(tier_of("anthropic", "claude-haiku-5-5"), at=AT)
    at_the_edge = Usage(input_tokens=100_000, output_tokens=10)
    beyond = Usage(input_tokens=100_001, output_tokens=10)
    price = tier.bound_price
    assert price.cost_nanousd(at_the_edge) == table_nanousd(tier, at_the_edge, AT)
    assert price.cost_nanousd(beyond) == table_nanousd(tier, beyond, AT)
    assert price.cost_nanousd(beyond) > 4 * price.cost_nanousd(at_the_edge)


@pytest.mark.parametrize(
    ("params", "ttl"),
    [
        ({}, None),
        ({"cache_control": {"type": "ephemeral"}}, "5m"),
        ({"cache_control": {"type": "ephemeral", "ttl": "5m"}}, "5m"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "1h"),
    ],
)
def test_cache_writes_cost_what_the_tier_asked_for(params: dict[str, Any], ttl: str | None) -> None:
    tier = freeze_price(tier_of("anthropic", "claude-haiku-4-5", params=params), at=AT)
    [step] = tier.bound_price.steps
    expected = {None: None, "5m": step.input_picousd * 5 // 4, "1h": step.input_picousd * 2}
    assert step.cache_write_picousd == expected[ttl]


def test_caches_that_are_written_unasked_are_in_the_worst_case() -> None:
    tier = freeze_price(tier_of("openai", "gpt-6-sol"), at=AT)
    written = Usage(input_tokens=5_000, output_tokens=5, cache_write_tokens=5_000)
    price = tier.bound_price
    assert price.cost_nanousd(written) == table_nanousd(tier, written, AT)
    assert price.worst_case_nanousd(5_000, 5) >= price.cost_nanousd(written)


@pytest.mark.parametrize("service_tier", ["flex", "priority"])
def test_a_service_tier_has_its_own_price(service_tier: str) -> None:
    params = {"service_tier": service_tier}
    model = next(
        m.id
        for p, m in all_models()
        if p == "openai" and any(v.when == params for v in m.price_variants or ())
    )
    tier = freeze_price(tier_of("openai", model, params=params), at=AT)
    usage = Usage(input_tokens=1_000, output_tokens=100, cached_input_tokens=10)
    assert tier.bound_price.cost_nanousd(usage) == table_nanousd(tier, usage, AT, **params)
    standard = freeze_price(tier_of("openai", model), at=AT)
    assert tier.bound_price.cost_nanousd(usage) != standard.bound_price.cost_nanousd(usage)


@pytest.mark.parametrize("name", ["service_tier", "speed", "inference_geo"])
def test_a_param_whose_price_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: warp"):
        freeze_price(tier_of("openai", "gpt-4o", params={name: "warp"}), at=AT)


def test_input_that_is_not_text_is_priced_as_the_dearest_kind() -> None:
    text = freeze_price(tier_of("google", "gemini-2.5-flash"), at=AT).bound_price
    mixed = tier_of("google", "gemini-2.5-flash", max_input_tokens=5_000)
    sounds = freeze_price(mixed, at=AT).bound_price
    assert sounds.steps[0].input_picousd > text.steps[0].input_picousd


def test_a_fee_per_request_is_a_price_per_call() -> None:
    tier = Tier(name="t", model="sonar-pro", base_url="https://api.perplexity.ai")
    assert freeze_price(tier, at=AT).bound_price.call_nanousd > 1_000_000


def test_a_declared_price_wins_and_is_exact() -> None:
    price = {"input": "0.0375", "output": 0.15, "cached_input": 0.01}
    tier = freeze_price(tier_of("openai", "gpt-4o", price=price))
    usage = Usage(input_tokens=1_000, output_tokens=1_000, cached_input_tokens=400)
    # 600 * 0.0375 + 400 * 0.01 + 1000 * 0.15 micro-dollars per thousand
    assert tier.bound_price.cost_nanousd(usage) == 22_500 + 4_000 + 150_000
    assert tier.bound_price.source == "declared"


def test_a_price_per_call_needs_no_token_price() -> None:
    tier = freeze_price(
        Tier(name="t", api="python", function="a.b", price={"call": "0.0000000001"})
    )
    assert tier.bound_price.cost_nanousd(Usage(input_tokens=5, output_tokens=5)) == 1


@pytest.mark.parametrize("price", [{}, {"input": 1}, {"output": 1}, {"cached_input": 1}])
def test_half_a_price_is_refused(price: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="input and output") as caught:
        freeze_price(tier_of("openai", "gpt-4o", price=price))
    assert "price: {input:" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "tier",
    [
        Tier(name="mine", model="gpt-4o", base_url="http://localhost:8000/v1"),
        Tier(name="mine", model="claude-haiku-4-5", base_url="https://gateway.example/v1"),
        Tier(name="mine", model="no-such-model"),
        Tier(name="mine", api="local", gguf="model.gguf"),
        Tier(name="mine", api="python", function="labels.by_keyword"),
        Tier(name="mine", model="whisper-1"),
        Tier(name="mine", model="text-embedding-3-small"),
        Tier(name="mine", model="gpt-4o-search-preview"),
    ],
)
def test_no_price_is_never_taken_as_free(tier: Tier) -> None:
    with pytest.raises(UsageError) as caught:
        freeze_price(tier, at=AT)
    assert "mine" in str(caught.value)
    assert (tier.model or tier.function or tier.gguf or "") in str(caught.value)
    assert "price: {input: 0, output: 0}" in (caught.value.hint or "")


def test_a_frozen_price_stays() -> None:
    tier = freeze_price(tier_of("openai", "gpt-4o"), at=AT)
    assert freeze_price(tier, at=AT + timedelta(days=900)) is tier


def test_the_source_names_version_day_and_model() -> None:
    source = freeze_price(tier_of("openai", "gpt-4o-2024-08-06"), at=AT).bound_price.source
    version = genai_prices.__version__
    assert source == f"genai-prices {version}, as of 2026-11-23 (openai/gpt-4o)"


def test_time_zones_do_not_matter() -> None:
    naive = freeze_price(tier_of("openai", "gpt-4o"), at=AT.replace(tzinfo=None))
    assert naive.bound_price == freeze_price(tier_of("openai", "gpt-4o"), at=AT).bound_price


def test_the_table_has_no_price_kind_that_is_not_thought_of() -> None:
    """A new way of billing tokens in the table would be passed over in silence."""
    per_token = {
        key
        for provider in table
        for model in provider.models
        for price in (
            [model.prices]
            if isinstance(model.prices, ModelPrice)
            else [condition.prices for condition in model.prices]
        )
        for key, value in vars(price).items()
        if value is not None and key.endswith("_mtok")
    }
    known = {"input_mtok", "output_mtok", "cache_read_mtok"}
    known |= {"cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok"}
    known |= {f"cache_{kind}_read_mtok" for kind in ("text", "audio", "image", "video")}
    known |= {f"input_{kind}_mtok" for kind in ("text", "audio", "image", "video")}
    output_kinds = ("text", "audio", "image", "video", "reasoning", "citation")
    known |= {f"output_{kind}_mtok" for kind in output_kinds}
    assert per_token <= known
