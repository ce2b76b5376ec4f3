"""Checks: is a value the right answer? Each is built once per job and then asked once per answer.

A check is called with a value that fits the declared output and with the row's gold text (None where the
row has none). It returns a `Verdict`: passed, failed, or undecided, and a reason for the last two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from cascade_batch.domain.job import Output
from cascade_batch.errors import UsageError
from cascade_batch.quality.json_text import json_values, same_json
from cascade_batch.quality.parsing import ChoiceParser, Unfit
from cascade_batch.quality.text import fold, fold_edges, shorten
from cascade_batch.quality.user_check import make_user_check

KNOWN_CHECKS = (
    "exact",
    "choice",
    "numeric",
    "numeric:TOLERANCE",
    "json",
    "json:FIELD,FIELD",
    "contains",
    "python:module.function",
)


class Verdict(NamedTuple):
    """What a check says: `passed` None where it can't decide; `reason` None where it passed."""

    passed: bool | None
    reason: str | None = None


PASSED = Verdict(True)
Check = Callable[[Any, str | None], Verdict]


def make_check(name: str | None, output: Output, check_path: str | None) -> Check:
    """The check of this name; None: the one that suits the declared output.

    Raises:
        UsageError: No check has this name, its argument can't be read, it does not suit the output, or
            the user's function can't be imported.
    """
    if name is None:
        name = "choice" if output.choices else "json" if output.json_schema else "exact"
    kind, colon, argument = name.strip().partition(":")
    argument = argument.strip()
    if colon and not argument:
        raise UsageError(f"check {name!r} has nothing after the colon.", hint=_hint())
    if kind == "python" and argument:
        return _undecided_as_verdict(make_user_check(argument, check_path))
    if kind == "judge" and argument:
        raise UsageError(
            f"check {name!r} is not available yet: no tier can be asked to judge answers so far.",
            hint=_hint(),
        )
    if kind == "numeric":
        return _with_gold(_make_numeric(argument))
    if kind == "json":
        return _with_gold(_make_json(tuple(f.strip() for f in argument.split(",") if f.strip())))
    if not argument and kind == "exact":
        return _with_gold(_exact)
    if not argument and kind == "contains":
        return _with_gold(_contains)
    if not argument and kind == "choice":
        return _with_gold(_make_choice(output))
    raise UsageError(f"There is no check {name!r}.", hint=_hint())


def _hint() -> str:
    return f"Known checks: {', '.join(KNOWN_CHECKS)}."


def _with_gold(compare: Callable[[Any, str], Verdict]) -> Check:
    def check(value: Any, gold: str | None) -> Verdict:
        if gold is None or not gold.strip():
            return Verdict(None)
        return compare(value, gold)

    return check


def _undecided_as_verdict(
    function: Callable[[Any, str | None], tuple[bool | None, str | None]],
) -> Check:
    def check(value: Any, gold: str | None) -> Verdict:
        return Verdict(*function(value, gold))

    return check


def _differs(value: Any, gold: str) -> Verdict:
    return Verdict(False, f"{shorten(value)} is not the expected {shorten(gold)}")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _exact(value: Any, gold: str) -> Verdict:
    text = _as_text(value)
    if text == gold or fold_edges(text) == fold_edges(gold):
        return PASSED
    return _differs(value, gold)


def _contains(value: Any, gold: str) -> Verdict:
    text = fold(_as_text(value))
    wanted = fold_edges(gold)
    at = text.find(wanted)
    while at >= 0:
        # "1" is not contained in "12"; scripts that put no space between words are left alone.
        end = at + len(wanted)
        if not (_joined(text[at - 1 : at], wanted[0]) or _joined(text[end : end + 1], wanted[-1])):
            return PASSED
        at = text.find(wanted, at + 1)
    return Verdict(False, f"{shorten(value)} does not contain the expected {shorten(gold)}")


def _joined(neighbour: str, edge: str) -> bool:
    return neighbour.isascii() and neighbour.isalnum() and edge.isascii() and edge.isalnum()


def _make_choice(output: Output) -> Callable[[Any, str], Verdict]:
    if output.choices is None:
        raise UsageError(
            "check 'choice' needs declared choices.",
            hint="Declare output: {choices: [...]}, or use check: exact.",
        )
    parse = ChoiceParser(output.choices)

    def compare(value: Any, gold: str) -> Verdict:
        if value == gold:
            return PASSED
        expected = parse(gold)
        if isinstance(expected, Unfit):
            # Nothing that fits could pass: a fault of the gold column, which no dearer tier mends.
            return Verdict(None, f"the gold answer {shorten(gold)} is none of the choices")
        return PASSED if value == expected else _differs(value, gold)

    return compare


_NUMBER = (
    r"(?:(?<!\w)[-+−])?"  # noqa: RUF001
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,4})?"
)
_ANY_NUMBER = re.compile(_NUMBER)
_MARKED_NUMBER = re.compile(
    rf"(?:\banswer\b[\s:*_]{{0,4}}(?:is)?|####)[\s:=*_$€£(\[{{]{{0,12}}({_NUMBER})", re.IGNORECASE
)


def _make_numeric(argument: str) -> Callable[[Any, str], Verdict]:
    tolerance = _tolerance(argument)

    def compare(value: Any, gold: str) -> Verdict:
        expected = number_in(gold)
        if expected is None:
            return Verdict(None, f"the gold answer {shorten(gold)} is no number")
        got = number_in(value)
        if got is None:
            return Verdict(False, f"{shorten(value)} holds no number")
        if got == expected:
            return PASSED
        if tolerance:
            margin = tolerance * abs(expected) if expected else tolerance
            if abs(got - expected) <= margin:
                return PASSED
        return _differs(value, gold)

    return compare


def _tolerance(argument: str) -> Decimal:
    try:
        tolerance = Decimal(argument or "0")
    except InvalidOperation:
        tolerance = Decimal(-1)
    if not (tolerance.is_finite() and 0 <= tolerance <= 1):
        raise UsageError(
            f"check 'numeric:{argument}' has a tolerance that is no number between 0 and 1.",
            hint="numeric:0.01 accepts what is within one per cent of the expected number.",
        )
    return tolerance


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


def _make_json(fields: tuple[str, ...]) -> Callable[[Any, str], Verdict]:
    def compare(value: Any, gold: str) -> Verdict:
        expected = _read_json(gold)
        got = (
            _read_json(value) if isinstance(value, str) and not isinstance(expected, str) else value
        )
        if fields:
            return _compare_fields(got, expected, fields)
        if isinstance(got, dict) and not isinstance(expected, dict):
            return Verdict(
                None,
                f"the gold answer {shorten(gold)} is no JSON object; name the field of the answer that"
                " it belongs to, as in check: json:FIELD",
            )
        if isinstance(got, dict):
            return _compare_fields(got, expected, tuple(expected))
        return PASSED if same_json(got, expected) else _differs(value, gold)

    return compare


def _compare_fields(got: Any, expected: Any, fields: tuple[str, ...]) -> Verdict:
    if not isinstance(got, dict):
        return Verdict(False, f"{shorten(got)} is no JSON object")
    if not isinstance(expected, dict):
        if len(fields) > 1:
            return Verdict(None, f"the gold answer {shorten(expected)} is no JSON object")
        expected = {fields[0]: expected}
    for field in fields:
        if field not in expected:
            return Verdict(None, f"the gold answer has no field {field!r}")
        if field not in got or not same_json(got[field], expected[field]):
            shown = shorten(got.get(field), 60)
            return Verdict(
                False, f"{field}: {shown} is not the expected {shorten(expected[field], 60)}"
            )
    return PASSED


def _read_json(text: str) -> Any:
    """The JSON value of a text; the text itself where it is not JSON, as a plain word in a column."""
    return next(json_values(text), text)
