"""Numbers in answers, and how near they have to come."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from cascade_batch.errors import UsageError

_NUMBER = (
    r"(?:(?<!\w)[-+−])?"  # noqa: RUF001
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,4})?"
)
_ANY_NUMBER = re.compile(_NUMBER)
_MARKED_NUMBER = re.compile(
    rf"(?:\banswer\b[\s:*_]{{0,4}}(?:is)?|####)[\s:=*_$€£(\[{{]{{0,12}}({_NUMBER})", re.IGNORECASE
)


def number_in(value: Any) -> Decimal | None:
    """The number that a value is or states: after "answer" or "####", else the last one in a text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return Decimal(str(value))
    if not isinstance(value, str):
        return None
    numbers = _MARKED_NUMBER.findall(value) or _ANY_NUMBER.findall(value)
    if not numbers:
        return None
    return Decimal(numbers[-1].replace(",", "").replace("−", "-"))  # noqa: RUF001


class Tolerance(NamedTuple):
    """How far a number may be off: by a share of what is expected, or by an amount; either will do."""

    relative: Decimal = Decimal(0)
    absolute: Decimal = Decimal(0)

    def allows(self, got: Decimal, expected: Decimal) -> bool:
        """Whether `got` is near enough. A share of an expected 0 would be 0: there it is an amount."""
        if got == expected:
            return True
        share = self.relative * abs(expected) if expected else self.relative
        return abs(got - expected) <= max(share, self.absolute)


def read_tolerance(argument: str) -> Tolerance:
    """The tolerance of a numeric check: "", `0.01` (relative), `rel=0.01`, `abs=0.5`, or both of these.

    Raises:
        UsageError: It is written in another way, or makes no sense.
    """
    given: dict[str, Decimal] = {}
    for part in filter(None, (part.strip() for part in argument.split(","))):
        name, equals, number = part.rpartition("=")
        name = name.strip() if equals else "rel"
        try:
            amount = Decimal(number.strip())
        except InvalidOperation:
            amount = Decimal("NaN")
        if name not in ("rel", "abs") or name in given or not _is_fit(name, amount):
            raise UsageError(
                f"check 'numeric:{argument}' has a tolerance that is no number between 0 and 1"
                " (abs: no number of 0 or more).",
                hint="numeric:0.01 accepts what is within one per cent of the expected number,"
                " numeric:abs=0.5 what is within a half of it; numeric:rel=0.01,abs=0.5 accepts either.",
            )
        given[name] = amount
    return Tolerance(given.get("rel", Decimal(0)), given.get("abs", Decimal(0)))


def _is_fit(name: str, amount: Decimal) -> bool:
    return amount.is_finite() and amount >= 0 and (name == "abs" or amount <= 1)
