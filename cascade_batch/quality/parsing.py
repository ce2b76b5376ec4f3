"""Reading a value from an answer's text: one parser per kind of declared output, built once per job.

A parser returns the value, or `Unfit` with the reason in words. It never guesses: a text that could be
read in two ways does not fit, and the row may be asked again on a better tier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cascade_batch.domain.job import Output
from cascade_batch.quality.patterns import UserPattern
from cascade_batch.quality.text import EDGES, fold, fold_edges, shorten

if TYPE_CHECKING:
    from regex import Match


class Unfit:
    """A text does not fit the declared output, and why."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


Parser = Callable[[str], Any]
"""Text -> value, or `Unfit`."""


def make_parser(output: Output) -> Parser:
    """The parser for a declared output.

    Raises:
        UsageError: The output's JSON schema is no valid schema, or refers to one that it does not hold;
            its pattern is no regular expression.
    """
    if output.choices is not None:
        return ChoiceParser(output.choices)
    if output.json_schema is not None:
        # Loads `jsonschema`, which takes longer than most of what a command does.
        from cascade_batch.quality.json_schema import make_json_parser

        return make_json_parser(output.json_schema, Unfit)
    if output.pattern is not None:
        return _make_pattern_parser(output.pattern)
    return _parse_free_text


def _parse_free_text(text: str) -> Any:
    return text.strip() or Unfit("the answer is empty")


def _make_pattern_parser(pattern: str) -> Parser:
    compiled = UserPattern(pattern, "output.pattern")
    shown = shorten(pattern)

    def value_of(match: Match[str]) -> str:
        group = match.group(1) if compiled.has_groups else None
        return str(match.group() if group is None else group)

    def parse(text: str) -> Any:
        text = text.strip()
        try:
            whole = compiled.fullmatch(text)
            if whole is not None:
                return value_of(whole)
            found = {value_of(match) for match in compiled.find_all(text) if match.group()}
        except TimeoutError:
            return Unfit(f"the pattern {shown} takes too long to be looked for in the answer")
        if len(found) > 1:
            return Unfit(f"several parts of the answer match the pattern {shown}")
        if not found:
            return Unfit(f"no part of the answer matches the pattern {shown}")
        return found.pop()

    return parse


_MARKER = (
    r"\b(?:answer|label|choice|category|class|verdict)\b[\s*_\"'`]{0,4}(?:is\b|[:=])"
    r"[\s:=*_\"'`(\[{<]{0,12}"
)
"""Repeats are bounded, as models do repeat themselves: an answer of blanks alone must not take minutes."""
_NEGATIONS = re.compile(
    r"\b(?:no|not|never|neither|nor|cannot|without|except|than|\w+n['’]t)\W+(?:\w+\W+)?\Z",  # noqa: RUF001
    re.IGNORECASE,
)


_MOST_COMPARED = 50_000_000
"""Characters of an answer, times choices, that are looked through: a second or two. With five choices that
is far beyond what a body holds."""


class ChoiceParser:
    """Finds the one declared choice that a text names.

    In this order: the text is a choice; it is one but for case, white space, surrounding punctuation or
    markdown; it says "Answer: X"; its first or last line is a choice; it mentions exactly one choice,
    and not after a negation. A choice of a single letter is an article or a pronoun in many a sentence, so
    that a mention of it must have the right case and stand in front of punctuation or an end of line.
    """

    def __init__(self, choices: tuple[str, ...]) -> None:
        self._exact = {choice: choice for choice in choices}
        self._folded = _unique(choices, fold)
        self._bare = _unique(choices, fold_edges)
        longest_first = sorted(choices, key=len, reverse=True)
        mention = "|".join(_mention_pattern(c, marked=False) for c in longest_first)
        marked = "|".join(_mention_pattern(c, marked=True) for c in longest_first)
        self._mention = re.compile(mention)
        self._marked = re.compile(rf"(?i:{_MARKER})(?:{marked})")
        self._shown = ", ".join(choices[:5]) + (", …" if len(choices) > 5 else "")

    def __call__(self, text: str) -> Any:
        """The choice in its declared spelling, or `Unfit`."""
        choice = self._exact.get(text)
        if choice is None:
            choice = self._same(text)
        if choice is not None:
            return choice
        text = text.strip()
        if not text:
            return Unfit("the answer is empty")
        if len(text) * len(self._exact) > _MOST_COMPARED:
            return Unfit("the answer is too long to look for the choices in it")
        for found in (self._find_marked(text), self._find_line(text), self._find_mention(text)):
            if len(found) == 1:
                return found.pop()
            if found:
                named = ", ".join(sorted(found)[:3])
                return Unfit(f"the answer names several of the choices: {named}")
        return Unfit(f"the answer {shorten(text, 60)} names none of the choices: {self._shown}")

    def _same(self, text: str) -> str | None:
        choice = self._folded.get(fold(text))
        return self._bare.get(fold_edges(text)) if choice is None else choice

    def _named_by(self, match: re.Match[str]) -> str | None:
        said = match[match.lastindex or 0]
        return self._exact.get(said) or self._same(said)

    def _find_marked(self, text: str) -> set[str]:
        matches = self._marked.finditer(text)
        return {named for match in matches if (named := self._named_by(match)) is not None}

    def _find_line(self, text: str) -> set[str]:
        lines = text.splitlines()
        ends = {self._same(lines[0]), self._same(lines[-1])}
        return {choice for choice in ends if choice is not None}

    def _find_mention(self, text: str) -> set[str]:
        found = set()
        for match in self._mention.finditer(text):
            named = self._named_by(match)
            if named is not None and not _NEGATIONS.search(
                text, max(0, match.start() - 40), match.start()
            ):
                found.add(named)
        return found


def _unique(choices: tuple[str, ...], normalise: Callable[[str], str]) -> dict[str, str]:
    """Normalised text -> choice, for those that normalising does not confuse with another."""
    keys = [normalise(choice) for choice in choices]
    times = Counter(keys)
    return {key: choice for key, choice in zip(keys, choices, strict=True) if times[key] == 1}


def _mention_pattern(choice: str, *, marked: bool) -> str:
    """A group that matches the choice where it stands as a word of its own."""
    name = choice.strip()
    body = r"\s+".join(re.escape(part) for part in name.split()) or re.escape(choice)
    before = r"(?<!\w)" if name[:1].isalnum() else ""
    after = r"(?!\w)" if name[-1:].isalnum() else ""
    if len(name) == 1 and name.isalpha():
        if not (marked and name.isupper()):
            after = rf"(?=[{re.escape(EDGES.replace(' ', '').replace(chr(9), ''))}]|\Z)(?!['’]\w)"  # noqa: RUF001
        return f"{before}({body}){after}"
    return f"(?i:{before}({body}){after})"
