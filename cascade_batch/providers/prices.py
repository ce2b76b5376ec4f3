"""What a tier's tokens cost, frozen when a job is submitted.

A price that the user gives counts. Otherwise the price table of the `genai-prices` package does,
which is bundled and read offline. The provider is found by the tier's address alone, never by the
model's name: a server of one's own may serve a model under any name, and is not free for that, so
its price has to be given. A model that the table does not know is refused, never taken as free.

The frozen price bounds what the calls of the job are billed. Where the table leaves it open which of
several prices will apply, it is the dearest of them:

- prices that depend on the time of day, and those that begin within a week of the submission;
- several kinds of input or output tokens (sounds, pictures, reasoning, citations), for input only
  where the tier takes more than text;
- writing to the cache, where the provider writes unasked. Anthropic writes only where the tier's
  params ask for it, and a longer life of what is written costs more.

Long-context steps are kept as steps. Prices that depend on params (`service_tier`, `speed`) are
taken from the table where it knows the value, and refused where it does not: the table itself would
silently give the standard price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from cascade_batch.domain.money import NANOUSD_PER_USD, Price, PriceStep, usd_per_mtok_to_picousd
from cascade_batch.domain.tier import Tier, TierPrice
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceCalculation

HORIZON = timedelta(days=7)
"""A price that begins within this time counts from the submission on: jobs run for hours or days."""

_SEARCHES_UNASKED = re.compile(r"\bsearch\b|sonar|deep-?research|compound|:online\b", re.IGNORECASE)
"""Models that look things up by themselves, for fees per look-up that no parameter bounds."""

_STANDARD = frozenset({"default", "standard", "standard_only", "on_demand", "global"})
"""Values of price-changing params that mean the standard price, with every provider."""

_PRICED_PARAMS = ("service_tier", "speed", "inference_geo")


def freeze_price(tier: Tier, *, at: datetime | None = None) -> Tier:
    """The tier with its price frozen; as it is, where it has one already.

    Args:
        tier: A tier, as read from a tiers file.
        at: When the job is submitted; None: now.

    Raises:
        UsageError: No price is given and the price table knows none, or only one that does not
            bound what a call can cost.
    """
    if tier.frozen_price is not None:
        return tier
    if tier.price is not None:
        price = _declared(tier, tier.price)
    else:
        price = _from_table(tier, at or datetime.now(UTC))
    return tier.model_copy(update={"frozen_price": price})


def _declared(tier: Tier, price: TierPrice) -> Price:
    given = price.model_fields_set
    if not given & {"call", "second"} and not {"input", "output"} <= given:
        raise UsageError(
            f"The price of tier {tier.name!r} must name both input and output (or call, or second);"
            " what is left out would count as free.",
            hint="For example: price: {input: 0.15, output: 0.60}, in USD per million tokens.",
        )
    step = PriceStep(
        input_picousd=usd_per_mtok_to_picousd(price.input),
        cached_input_picousd=_picousd(price.cached_input),
        output_picousd=usd_per_mtok_to_picousd(price.output),
    )
    return Price(
        steps=(step,),
        call_nanousd=_nanousd(price.call),
        second_nanousd=_nanousd(price.second),
        source="declared",
    )


def _from_table(tier: Tier, at: datetime) -> Price:
    import genai_prices  # Takes a third of a second, which only this needs.

    found = _look_up(tier, at)
    context = _price_context(tier, found)
    prices = list(_prices_in_force(found.model, at, context))
    if _SEARCHES_UNASKED.search(tier.model) and not all(
        _values(price).get("requests_kcount") for price in prices
    ):
        raise _no_price(tier, "the price table can't bound the fees, as it searches by itself")
    for price in prices:
        for key in ("input_mtok", "output_mtok"):
            if _values(price).get(key) is None:
                raise _no_price(tier, f"the price table has no price per {key.split('_')[0]} token")
    starts = sorted({0, *(start for price in prices for start in _starts(price))})
    takes_more_than_text = tier.max_input_tokens is not None
    writes = _cache_write_keys(tier)
    return Price(
        steps=tuple(
            _dearest(start, [_step(price, start, writes, takes_more_than_text) for price in prices])
            for start in starts
        ),
        call_nanousd=max(
            _nanousd(_values(price).get("requests_kcount", Decimal(0)) / 1000) for price in prices
        ),
        source=(
            f"genai-prices {genai_prices.__version__}, as of {at.date().isoformat()}"
            f" ({found.provider.id}/{found.model.id})"
        ),
    )


def _look_up(tier: Tier, at: datetime) -> PriceCalculation:
    from genai_prices import Usage, calc_price

    if tier.api not in ("openai", "anthropic"):
        raise _no_price(tier, f"there is no price table (api: {tier.api})")
    try:
        return calc_price(
            Usage(input_tokens=0, output_tokens=0),
            tier.model,
            provider_api_url=tier.url,
            genai_request_timestamp=at,
        )
    except (LookupError, ValueError) as error:
        raise _no_price(tier, f"the price table has none ({error})") from None


def _no_price(tier: Tier, reason: str) -> UsageError:
    where = f" at {tier.url}" if tier.url else ""
    return UsageError(
        f"Tier {tier.name!r} has no price: the tiers file gives none, and for {_model(tier)}{where}"
        f" {reason}.",
        hint=(
            f"Add to tier {tier.name!r} in the tiers file, in USD per million tokens:"
            " price: {input: 0.15, output: 0.60}. For a server that costs you nothing:"
            " price: {input: 0, output: 0}."
        ),
    )


def _model(tier: Tier) -> str:
    return repr(tier.model or tier.function or tier.gguf)


def _price_context(tier: Tier, found: PriceCalculation) -> dict[str, str]:
    """The table's context for params that change the price.

    Raises:
        UsageError: The table does not know the value for this model.
    """
    context: dict[str, str] = {}
    for name in _PRICED_PARAMS:
        value = tier.params.get(name)
        if value is None or (isinstance(value, str) and value in _STANDARD):
            continue
        # The table applies variants to a provider's own models only.
        own = any(found.model is model for model in found.provider.models)
        known = [v for v in found.model.price_variants or () if v.when == {name: value}]
        if not (own and known):
            raise _no_price(tier, f"the price table has no price with {name}: {value}")
        context[name] = value
    return context


def _prices_in_force(
    model: ModelInfo, at: datetime, context: dict[str, str]
) -> Iterator[ModelPrice]:
    """Every price that the model has at some time from `at` to the horizon, maybe repeatedly."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    at = at.astimezone(UTC)
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints: list[Any] = [
        entry.constraint for entry in [*conditional, *(model.price_variants or ())]
    ]
    # Prices change at the start of a day and at the ends of daily intervals, and nowhere else.
    times = {at.timetz()}
    for constraint in constraints:
        for name in ("start_time", "end_time"):
            time_of_day = getattr(constraint, name, None)
            if time_of_day is not None:
                on_some_day = datetime.combine(at.date(), time_of_day)
                times.add(on_some_day.replace(tzinfo=time_of_day.tzinfo or UTC).timetz())
    for day in range(HORIZON.days + 1):
        for time_of_day in times:
            moment = datetime.combine(at.date() + timedelta(days=day), time_of_day)
            if moment.astimezone(UTC).date() >= at.date():
                yield model.get_prices(moment, context)


def _values(price: ModelPrice) -> dict[str, Any]:
    return {key: value for key, value in vars(price).items() if value is not None}


def _starts(price: ModelPrice) -> Iterator[int]:
    for value in _values(price).values():
        for step in getattr(value, "tiers", ()):
            yield step.start


def _usd_per_mtok(value: Any, above_input_tokens: int) -> Decimal:
    """The price for inputs of more than `above_input_tokens`, up to the next step."""
    base: Decimal = getattr(value, "base", value)
    for step in getattr(value, "tiers", ()):
        if step.start <= above_input_tokens:
            base = step.price
    return base


def _cache_write_keys(tier: Tier) -> tuple[str, ...]:
    marked = tier.params.get("cache_control")
    if tier.api == "anthropic" and not marked:
        return ()
    if isinstance(marked, dict) and marked.get("ttl") not in (None, "5m"):
        return ("cache_write_mtok", "cache_write_1h_mtok")
    return ("cache_write_mtok", "cache_write_5m_mtok")


def _step(
    price: ModelPrice, start: int, write_keys: Iterable[str], takes_more_than_text: bool
) -> PriceStep:
    usd = {
        key: _usd_per_mtok(value, start)
        for key, value in _values(price).items()
        if key.endswith("_mtok")
    }
    inputs = [usd["input_mtok"]]
    cached = [usd[key] for key in ("cache_read_mtok", "cache_text_read_mtok") if key in usd]
    if takes_more_than_text:
        inputs += [value for key, value in usd.items() if key.startswith("input_")]
        cached += [v for key, v in usd.items() if re.fullmatch(r"cache_\w+_read_mtok", key)]
    written = [usd[key] for key in write_keys if key in usd]
    return PriceStep(
        above_input_tokens=start,
        input_picousd=usd_per_mtok_to_picousd(max(inputs)),
        cached_input_picousd=_picousd(max(cached, default=None)),
        cache_write_picousd=_picousd(max(written, default=None)),
        output_picousd=usd_per_mtok_to_picousd(
            max(value for key, value in usd.items() if key.startswith("output_"))
        ),
    )


def _dearest(start: int, steps: list[PriceStep]) -> PriceStep:
    """What is not below any of the steps, part by part."""

    def dearest(name: str) -> int | None:
        values = [getattr(step, name) for step in steps]
        if all(value is None for value in values):
            return None
        # Where a part has no price of its own, it costs what input does.
        return max(
            step.input_picousd if value is None else value
            for step, value in zip(steps, values, strict=True)
        )

    return PriceStep(
        above_input_tokens=start,
        input_picousd=max(step.input_picousd for step in steps),
        cached_input_picousd=dearest("cached_input_picousd"),
        cache_write_picousd=dearest("cache_write_picousd"),
        output_picousd=max(step.output_picousd for step in steps),
    )


def _picousd(usd_per_mtok: Decimal | None) -> int | None:
    return None if usd_per_mtok is None else usd_per_mtok_to_picousd(usd_per_mtok)


def _nanousd(usd: Decimal) -> int:
    """Rounded up: a price is never read as less than was given."""
    return int((usd * NANOUSD_PER_USD).to_integral_value(rounding=ROUND_CEILING))
