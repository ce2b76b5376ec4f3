"""Judging: an answer's text, held against the declared output, the check and gold."""

from __future__ import annotations

from cascade_batch.domain.answer import Judgement
from cascade_batch.domain.job import Output
from cascade_batch.domain.text import clean_text
from cascade_batch.quality.checks import Checks, Mark, has_gold, make_checks
from cascade_batch.quality.parsing import Parser, Unfit, make_parser
from cascade_batch.quality.text import shorten


def make_judge(output: Output, check: str | None, *, check_path: str | None = None) -> Judge:
    """Build the judge of a job: its schema is compiled and its function imported here, once.

    Args:
        output: What an answer has to look like.
        check: Name of the check (see `checks`); None: `choice` for choices, `json` for a schema, `exact`
            otherwise.
        check_path: Folder that a `python:` check is imported from.

    Raises:
        UsageError: The check or the schema can't be used; the message says why.
    """
    return Judge(make_parser(output), make_checks(check, output, check_path))


class Judge:
    """Reads values from answers and checks them; see `judge`."""

    __slots__ = ("_checks", "_parse")

    def __init__(self, parse: Parser, checks: Checks) -> None:
        self._parse = parse
        self._checks = checks

    def judge(
        self,
        text: str,
        gold: str | None,
        *,
        finish_reason: str | None = None,
        refusal: bool = False,
    ) -> Judgement:
        """Judge one answer.

        Args:
            text: The answer as the model gave it.
            gold: The row's right answer as text; None or blank: the row has none.
            finish_reason: As in `Reply`; named in the error of a text that does not fit.
            refusal: The model declined: no such answer fits, whatever its words.

        Returns:
            `passed` is False where the text does not fit the declared output, else what the check says:
            None without gold where it needs gold, and None where a tier is to be asked (`judge:TIER`).
            Fitting alone never passes: it says nothing about being right.
            `matches_gold` is what gold says, None without gold.
        """
        text = clean_text(text)
        if refusal:
            return _unfit(f"the model declined: {shorten(text.strip(), 120)}", gold)
        value = self._parse(text)
        if isinstance(value, Unfit):
            return _unfit(_cut_off(finish_reason) + value.reason, gold)
        mark = self._checks.check(value, gold)
        return Judgement(
            value=value,
            passed=mark.passed,
            error=mark.reason,
            matches_gold=self._matches_gold(value, gold, mark),
        )

    def _matches_gold(self, value: object, gold: str | None, mark: Mark) -> bool | None:
        if not has_gold(gold):
            return None
        compare = self._checks.gold
        return mark.passed if compare is None else compare(value, gold).passed


def _unfit(reason: str, gold: str | None) -> Judgement:
    matches_gold = False if has_gold(gold) else None
    return Judgement(
        value=None, passed=False, error=reason, has_value=False, matches_gold=matches_gold
    )


def _cut_off(finish_reason: str | None) -> str:
    if finish_reason == "length":
        return "truncated at max_output_tokens: "
    if finish_reason == "content_filter":
        return "stopped by the provider's content filter: "
    return ""
