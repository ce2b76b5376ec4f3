"""Escalated rows as the page shows them: what was asked, what each tier said, and which answer is final."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_batch.results.report import words
from cascade_batch.results.report.escalations import CAUSES
from cascade_batch.results.report.facts import Example, ExampleAnswer, Facts

_ID_COLUMNS = ("custom_id", "id")
_OUTCOMES = {
    (True, True): ("right", "right"),
    (True, False): ("wrong", "wrong"),
    (False, True): ("passed the check", "right"),
    (False, False): ("failed the check", "wrong"),
}
"""What is said of an answer, and in which colour, by whether gold is known and whether it was met."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer on the page; `mark` is a word on it and its class, both empty where nobody judged it."""

    tier: str
    said: str
    mark: tuple[str, str]
    sure: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class ShownExample:
    """An example on the page; `why` says for what it was sent on, `gold` is empty where it is not known."""

    id: str
    asked: str
    why: str
    answers: tuple[ShownAnswer, ...]
    gold: str


def shown_example(facts: Facts, one: Example) -> ShownExample:
    """The example in words."""
    hidden = [name for name in _ID_COLUMNS if str((one.input or {}).get(name)) == one.custom_id]
    if facts.gold_column:
        hidden.append(facts.gold_column)
    chosen = one.chosen
    return ShownExample(
        id=words.cut(one.custom_id, 60),
        asked=words.row_text(one.input, one.input_text, hidden=hidden),
        why=f"Sent from {facts.tiers[chosen.from_tier].name} to {facts.tiers[chosen.tier_no].name}:"
        f" {CAUSES[chosen.cause]}",
        answers=tuple(_shown_answer(facts, one, answer) for answer in one.answers),
        gold=words.cut(one.gold),
    )


def _shown_answer(facts: Facts, one: Example, answer: ExampleAnswer) -> ShownAnswer:
    sure = words.probability_of(answer.logprob)
    mark = ("", "")
    if answer.is_right is not None:
        mark = _OUTCOMES[bool((one.gold or "").strip()), answer.is_right]
    return ShownAnswer(
        tier=facts.tiers[answer.tier_no].name,
        said=words.cut(answer.text) or f"(nothing: {words.cut(answer.error)})",
        mark=mark,
        sure=sure,
        is_final=answer.stands,
    )
