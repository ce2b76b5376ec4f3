"""Judging: an answer's text, held against the declared output and the check."""

from __future__ import annotations

from cascade_batch.domain.answer import Judgement
from cascade_batch.domain.job import Output
from cascade_batch.domain.text import clean_text
from cascade_batch.quality.checks import Check, make_check
from cascade_batch.quality.parsing import Parser, Unfit, make_parser
from cascade_batch.quality.text import shorten


def make_judge(output: Output, check: str | None, *, check_path: str | None = None) -> Judge:
    """Build the judge of a job: its schema is compiled and its function imported here, once.

    Args:
        output: What an answer has to look like.
        check: Name of the check; None: `choice` for choices, `json` for a schema, `exact` otherwise.
        check_path: Folder that a `python:` check is imported from.

    Raises:
        UsageError: The check or the schema can't be used; the message says why.
    """
    return Judge(make_parser(output), make_check(check, output, check_path))


class Judge:
    """Reads values from answers and checks them; see `judge`."""

    __slots__ = ("_check", "_parse")

    def __init__(self, parse: Parser, check: Check) -> None:
        self._parse = parse
        self._check = check

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
            `passed` is False where the text does not fit the declared output, else what the check says,
            which is None without gold (but for a `python:` check, which may decide without).
            Fitting alone never passes: it says nothing about being right.
        """
        text = clean_text(text)
        if refusal:
            return _unfit(f"the model declined: {shorten(text.strip(), 120)}")
        value = self._parse(text)
        if isinstance(value, Unfit):
            return _unfit(_cut_off(finish_reason) + value.reason)
        verdict = self._check(value, gold)
        return Judgement(value=value, passed=verdict.passed, error=verdict.reason)


def _unfit(reason: str) -> Judgement:
    return Judgement(value=None, passed=False, error=reason, has_value=False)


def _cut_off(finish_reason: str | None) -> str:
    if finish_reason == "length":
        return "truncated at max_output_tokens: "
    if finish_reason == "content_filter":
        return "stopped by the provider's content filter: "
    return ""
