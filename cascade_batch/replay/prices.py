"""Prices of a recorded set's tiers, from the file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cascade_batch.domain.money import usd_per_mtok_to_picousd
from cascade_batch.errors import UsageError
from cascade_batch.near_names import file_beside

HIGHEST_USD_PER_MTOK = 10**5


@dataclass(frozen=True, slots=True)
class TierPrice:
    """What a tier's tokens cost, in pico-dollars each."""

    name: str
    input_picousd: int
    output_picousd: int


def price_path(path: Path) -> Path:
    """`NAME.json` beside `NAME.jsonl.gz`."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl") + ".json")


def read_prices(path: Path, tiers: Sequence[str] | None) -> tuple[str, tuple[TierPrice, ...]]:
    """The set's name, and the prices of these tiers in this order (of all, cheap to dear, if None).

    Raises:
        UsageError: There is no file of prices, it can't be read, or it has none for a tier.
    """
    name, prices = _read_all(path)
    wanted = tuple(prices) if tiers is None else tuple(tiers)
    for tier in wanted:
        if tier not in prices:
            raise UsageError(
                f"{price_path(path)} has no price for a tier {tier!r}.",
                hint=f"Its tiers are {', '.join(prices)}.",
            )
    if len(set(wanted)) < max(len(wanted), 2):
        raise UsageError("A replay needs two different tiers or more, each named once.")
    return name, tuple(prices[tier] for tier in wanted)


def tier_names(path: Path) -> tuple[str, ...]:
    """Names of all tiers of a set, cheap to dear; raises like `read_prices`."""
    return tuple(_read_all(path)[1])


def _read_all(path: Path) -> tuple[str, dict[str, TierPrice]]:
    beside = price_path(path)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", hint=file_beside(path))
    try:
        read = orjson.loads(beside.read_bytes())
        prices = {price.name: price for price in map(_price, read["tiers"])}
        return str(read.get("name") or beside.stem), prices
    except FileNotFoundError:
        raise UsageError(
            f"{path} has no prices: there is no file {beside}.", hint=_NEEDED
        ) from None
    except (
        orjson.JSONDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        OSError,
    ) as error:
        raise UsageError(f"{beside} holds no prices: {_reason(error)}.", hint=_NEEDED) from None


_NEEDED = (
    'It has to hold {"tiers": [{"name": ..., "input_usd_per_mtok": ..., "output_usd_per_mtok": ...}, ...]},'
    " cheap to dear."
)


def _price(tier: Any) -> TierPrice:
    given, made = tier["input_usd_per_mtok"], tier["output_usd_per_mtok"]
    for usd in (given, made):
        if (
            isinstance(usd, bool)
            or not isinstance(usd, int | float)
            or not 0 <= usd <= HIGHEST_USD_PER_MTOK
        ):
            raise ValueError(f"{usd!r} is no price")
    return TierPrice(
        str(tier["name"]), usd_per_mtok_to_picousd(given), usd_per_mtok_to_picousd(made)
    )


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
