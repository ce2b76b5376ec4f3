"""Checks: is a value the right answer? Each is built once per job and then asked once per answer.

A check is called with a value that fits the declared output and with the row's gold text (None where the
row has none). It returns a `Mark`: passed, failed, or undecided, and a reason for the last two.

These compare with gold, and decide nothing about a row that has none. Where it says *several*, gold may be a
JSON array of accepted answers, one of which is enough:

- `exact`: the same text, but for case, white space and surrounding punctuation. Several.
- `normalised`: the same text, but for case, all punctuation, English articles and the writing of numbers (see
  `text.normalise`), as question answering is usually scored. Several.
- `choice`: the same choice; gold is read as answers are. Several.
- `numeric`, `numeric:0.01`, `numeric:abs=0.5`, `numeric:rel=0.01,abs=0.5`: the number that the answer
  states, within a share of the expected one, or an amount. Several.
- `json`, `json:FIELD,FIELD`: JSON values, field by field: those that gold has, or those that are named.
- `contains`: the text holds the expected one as words. Several.

These look at the answer itself and decide about every row:

- `regex:PATTERN`: the pattern is found in the answer; `^` and `$` tie it to the ends. (Gold is compared
  besides, by the check that suits the output, to learn how often the pattern errs.)
- `python:module.function`: the user's function of value and gold; see `user_check`.

And one asks: `judge:TIER` has a tier's model read question and answer; see `verdicts`. It decides nothing
here. (Gold is compared as for a pattern, and so audits the judge.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from cascade_batch.domain.job import Output
from cascade_batch.errors import UsageError
from cascade_batch.quality.json_text import json_values, same_json
from cascade_batch.quality.numbers import number_in, read_tolerance
from cascade_batch.quality.parsing import ChoiceParser, Unfit
from cascade_batch.quality.patterns import UserPattern
from cascade_batch.quality.text import fold, fold_edges, normalise, shorten
from cascade_batch.quality.user_check import make_user_check
from cascade_batch.words import choose

KNOWN_CHECKS = (
    "exact",
    "normalised",
    "choice",
    "numeric",
    "numeric:TOLERANCE",
    "json",
    "json:FIELD,FIELD",
    "contains",
    "regex:PATTERN",
    "python:module.function",
    "judge:TIER",
)


class Mark(NamedTuple):
    """What a check says: `passed` None where it can't decide; `reason` None where it passed."""

    passed: bool | None
    reason: str | None = None


_MOST_FINDS = 10_000
"""How many places of a text are looked at for whole words: bounds the work on one of "1" a million times."""

PASSED = Mark(True)
UNDECIDED = Mark(None)
Check = Callable[[Any, str | None], Mark]
_Compare = Callable[[Any, str], Mark]


class Checks(NamedTuple):
    """What an answer is held against.

    Attributes:
        check: The job's check.
        gold: Compares with gold alone, where the check looks at something else; None where the check's own
            word on a row with gold is that comparison.
    """

    check: Check
    gold: Check | None = None


def make_checks(name: str | None, output: Output, check_path: str | None) -> Checks:
    """The check of this name; None: the one that suits the declared output.

    Raises:
        UsageError: No check has this name, its argument can't be read, it does not suit the output, or
            the user's function can't be imported.
    """
    if name is None:
        return Checks(_gold_check(_fitting(output), "", output))
    kind, colon, argument = name.strip().partition(":")
    argument = argument.strip()
    if colon and not argument:
        raise UsageError(f"check {name!r} has nothing after the colon.", hint=_hint())
    if kind == "python" and argument:
        return Checks(_user_check(argument, check_path))
    if kind == "regex" and argument:
        return Checks(_pattern_check(argument), _gold_check(_fitting(output), "", output))
    if kind == "judge" and argument:
        return Checks(_undecided, _gold_check(_fitting(output), "", output))
    if kind in _NEED_GOLD and (not argument or kind in ("numeric", "json")):
        return Checks(_gold_check(kind, argument, output))
    raise UsageError(f"There is no check {name!r}.", hint=_hint())


_NEED_GOLD = ("exact", "normalised", "normalized", "choice", "numeric", "json", "contains")


def _hint() -> str:
    return f"Known checks: {', '.join(KNOWN_CHECKS)}."


def _fitting(output: Output) -> str:
    return "choice" if output.choices else "json" if output.json_schema else "exact"


def _gold_check(kind: str, argument: str, output: Output) -> Check:
    if kind == "json":
        fields = tuple(f.strip() for f in argument.split(",") if f.strip())
        return _with_gold(_make_json(fields))
    if kind == "numeric":
        return _with_gold(_any_of(_make_numeric(argument)))
    if kind == "choice":
        return _with_gold(_any_of(_make_choice(output)))
    return _with_gold(_any_of({"exact": _exact, "contains": _contains}.get(kind, _normalised)))


def has_gold(gold: str | None) -> bool:
    """Whether a row's gold text says anything."""
    return gold is not None and bool(gold.strip())


def _with_gold(compare: _Compare) -> Check:
    def check(value: Any, gold: str | None) -> Mark:
        if gold is None or not gold.strip():
            return UNDECIDED
        return compare(value, gold)

    return check


def _any_of(compare: _Compare) -> _Compare:
    """Gold may be a list of accepted answers: one that passes is enough."""

    def check(value: Any, gold: str) -> Mark:
        accepted = _accepted(gold)
        if accepted is None:
            return compare(value, gold)
        if not accepted:
            return Mark(None, "the gold answer is an empty list")
        # The list itself comes last: somebody may have asked for a list.
        marks = [compare(value, one) for one in (*accepted, gold)]
        if any(mark.passed for mark in marks):
            return PASSED
        if all(mark.passed is None for mark in marks):
            return marks[0]
        return Mark(False, f"{shorten(value)} is none of the expected {shorten(gold)}")

    return check


def _accepted(gold: str) -> list[str] | None:
    """The accepted answers of a JSON array of texts and numbers; None: gold is something else."""
    if not gold.lstrip().startswith("["):
        return None
    try:
        # Numbers stay as they are written.
        values = json.loads(gold, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        return None
    return [value for value in values if value.strip()]


def _undecided(value: Any, gold: str | None) -> Mark:  # noqa: ARG001
    return UNDECIDED


def _user_check(target: str, check_path: str | None) -> Check:
    function = make_user_check(target, check_path)

    def check(value: Any, gold: str | None) -> Mark:
        return Mark(*function(value, gold))

    return check


def _pattern_check(pattern: str) -> Check:
    compiled = UserPattern(pattern, f"check 'regex:{pattern}'")
    shown = shorten(pattern)

    def check(value: Any, gold: str | None) -> Mark:  # noqa: ARG001
        try:
            found = compiled.search(_as_text(value))
        except TimeoutError:
            return Mark(None, f"the pattern {shown} takes too long to be looked for in the answer")
        return PASSED if found else Mark(False, f"{shorten(value)} does not match {shown}")

    return check


def _differs(value: Any, gold: str) -> Mark:
    return Mark(False, f"{shorten(value)} is not the expected {shorten(gold)}")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _exact(value: Any, gold: str) -> Mark:
    text = _as_text(value)
    if text == gold or fold_edges(text) == fold_edges(gold):
        return PASSED
    return _differs(value, gold)


def _normalised(value: Any, gold: str) -> Mark:
    same = normalise(_as_text(value)) == normalise(gold)
    return PASSED if same else _differs(value, gold)


def _contains(value: Any, gold: str) -> Mark:
    text = fold(_as_text(value))
    wanted = fold_edges(gold)
    at = text.find(wanted)
    for _ in range(_MOST_FINDS):
        if at < 0:
            break
        # "1" is not contained in "12"; scripts that put no space between words are left alone.
        end = at + len(wanted)
        if not (_joined(text[at - 1 : at], wanted[0]) or _joined(text[end : end + 1], wanted[-1])):
            return PASSED
        at = text.find(wanted, at + 1)
    return Mark(False, f"{shorten(value)} does not contain the expected {shorten(gold)}")


def _joined(neighbour: str, edge: str) -> bool:
    return neighbour.isascii() and neighbour.isalnum() and edge.isascii() and edge.isalnum()


def _make_choice(output: Output) -> _Compare:
    if output.choices is None:
        raise UsageError(
            "check 'choice' needs declared choices.",
            hint=choose(
                command_line="Declare output: {choices: [...]}, or use check: exact.",
                python="Declare output={'choices': [...]}, or use check='exact'.",
            ),
        )
    parse = ChoiceParser(output.choices)

    def compare(value: Any, gold: str) -> Mark:
        if value == gold:
            return PASSED
        expected = parse(gold)
        if isinstance(expected, Unfit):
            # Nothing that fits could pass: a fault of the gold column, which no dearer tier mends.
            return Mark(None, f"the gold answer {shorten(gold)} is none of the choices")
        return PASSED if value == expected else _differs(value, gold)

    return compare


def _make_numeric(argument: str) -> _Compare:
    tolerance = read_tolerance(argument)

    def compare(value: Any, gold: str) -> Mark:
        expected = number_in(gold)
        if expected is None:
            return Mark(None, f"the gold answer {shorten(gold)} is no number")
        got = number_in(value)
        if got is None:
            return Mark(False, f"{shorten(value)} holds no number")
        return PASSED if tolerance.allows(got, expected) else _differs(value, gold)

    return compare


def _make_json(fields: tuple[str, ...]) -> _Compare:
    def compare(value: Any, gold: str) -> Mark:
        expected = _read_json(gold)
        got = (
            _read_json(value) if isinstance(value, str) and not isinstance(expected, str) else value
        )
        if fields:
            return _compare_fields(got, expected, fields)
        if isinstance(got, dict) and not isinstance(expected, dict):
            return Mark(
                None,
                f"the gold answer {shorten(gold)} is no JSON object; name the field of the answer that"
                " it belongs to, as in check: json:FIELD",
            )
        if isinstance(got, dict):
            return _compare_fields(got, expected, tuple(expected))
        return PASSED if same_json(got, expected) else _differs(value, gold)

    return compare


def _compare_fields(got: Any, expected: Any, fields: tuple[str, ...]) -> Mark:
    if not isinstance(got, dict):
        return Mark(False, f"{shorten(got)} is no JSON object")
    if not isinstance(expected, dict):
        if len(fields) > 1:
            return Mark(None, f"the gold answer {shorten(expected)} is no JSON object")
        expected = {fields[0]: expected}
    for field in fields:
        if field not in expected:
            return Mark(None, f"the gold answer has no field {field!r}")
        if field not in got or not same_json(got[field], expected[field]):
            shown = shorten(got.get(field), 60)
            return Mark(
                False, f"{field}: {shown} is not the expected {shorten(expected[field], 60)}"
            )
    return PASSED


def _read_json(text: str) -> Any:
    """The JSON value of a text; the text itself where it is not JSON, as a plain word in a column, or is
    nested too deep."""
    try:
        return next(json_values(text), text)
    except RecursionError:
        return text
