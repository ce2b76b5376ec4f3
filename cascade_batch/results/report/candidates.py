"""Which escalated rows are shown as examples: of each kind one, before there is a second of any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An escalation that could be shown.

    Attributes:
        tier_no: The tier that the row was sent to, while `from_tier` had answered it last.
        cause: What was known of that answer, see `CAUSES`.
        gain: What was expected of the further answer.
        changed: Whether it says something else; None: can't be compared.
        is_right: Whether it is right; None: nobody says.
    """

    row_no: int
    tier_no: int
    from_tier: int
    cause: str
    gain: float
    changed: bool | None
    is_right: bool | None


def choose_examples(candidates: Iterable[Candidate], number: int) -> list[Candidate]:
    """A mix over causes, tiers and outcomes, of different rows. Among equals those come first of which
    somebody knows whether they are right, then those of which most was expected."""
    left = list(candidates)
    seen: Counter[object] = Counter()
    chosen: list[Candidate] = []
    while left and len(chosen) < number:
        best = min(
            left,
            key=lambda one: (
                sum(seen[kind] for kind in _kinds(one)),
                one.is_right is None,
                -one.gain,
                one.row_no,
            ),
        )
        chosen.append(best)
        seen.update(_kinds(best))
        left = [one for one in left if one.row_no != best.row_no]
    return chosen


def _kinds(one: Candidate) -> tuple[object, ...]:
    return (
        ("cause", one.cause),
        ("way", one.from_tier, one.tier_no),
        ("outcome", one.changed, one.is_right),
    )
