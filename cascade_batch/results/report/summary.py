"""The words at the top: what a reader who reads one sentence should read, figures, and what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cascade_batch.domain.counting import counted
from cascade_batch.policy.recalibration import MIN_LABELS
from cascade_batch.results.report import curves, words
from cascade_batch.results.report.escalations import rows_with_several
from cascade_batch.results.report.facts import Facts

TIERS_NAMED = 3
"""How many tiers the first sentences name."""
MOST_COLUMNS = 5
_NOBODY = "Nobody labelled this job, so nothing here measures quality."


def summary(status: dict[str, Any], facts: Facts) -> str:
    """What came out, at which quality and price; whose answers are final; what was asked more than once."""
    rows = status["rows"]
    total, answered = rows["total"], rows["answered"]
    spent, quality = status["spent_nanousd"], status["quality"]
    how_many = "All" if 1 < total == answered else f"{answered:,} of"
    said = (
        f"{how_many} {counted(total, 'row')} {'was' if total == 1 else 'were'} answered for"
        f" {words.usd(spent)} of a budget of {words.usd(status['budget_nanousd'])}"
    )
    if answered:
        said += f" ({words.per_1000(spent, answered)} per 1,000 rows)"
    if quality is not None:
        said += f"; {words.percent(quality)} of the answers are expected to be right"
    said += "."
    if unfit := status["rows_unfit"]:
        do = "does" if unfit == 1 else "do"
        said += f" {counted(unfit, 'final answer')} {do} not fit the output asked for."
    final: Counter[int] = Counter()
    for flow in facts.flows:
        final[flow.stands] += flow.rows
    if len(facts.tiers) > 1 and final:
        said += f" {_shares(facts, final)}"
        several = rows_with_several(facts.flows)
        have = "has" if several == 1 else "have"
        if several:
            said += f" {counted(several, 'row')} {have} answers from more than one tier."
    return said


def _shares(facts: Facts, final: Counter[int]) -> str:
    total = final.total()
    ordered = final.most_common()
    shares = [
        f"{words.part(count, total)} {'by' if place else 'were given by'} {facts.tiers[no].name}"
        for place, (no, count) in enumerate(ordered[:TIERS_NAMED])
    ]
    if others := ordered[TIERS_NAMED:]:
        rest = sum(count for _, count in others)
        shares.append(
            f"{words.part(rest, total)} by {counted(len(others), 'other tier', 'others')}"
        )
    return f"Of the final answers, {_listed(shares)}."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def basis(status: dict[str, Any], facts: Facts, *, measured: bool) -> str:
    """Where the word on answers comes from, and what is measured by it. It agrees with what is drawn.

    Args:
        measured: Whether the frontier is, so that it is called quality.
    """
    labels = status["labels"]
    several = len(facts.tiers) > 1
    planned = several and status["policy"] == "auto"
    told = sum(flow.rows for flow in facts.flows if flow.first_right is not None)
    has_quality = status["quality"] is not None
    if labels == "check":
        stop = " A row was not asked again once an answer had passed." if planned else ""
        return f"A check decided on every answer.{stop}"
    if labels == "gold":
        return _basis_of_gold(
            told, has_quality=has_quality, measured=measured and several, planned=planned
        )
    if labels == "judge":
        errs = "A judge tier gave its verdict on the answers. It can be wrong"
        if has_quality or measured:
            return f"{errs}; how often it is was measured on rows whose right answer is known."
        return f"{errs}, and nothing here measures how often: too few right answers are known."
    if labels == "agreement":
        return _NOBODY + (" The planner went by how often the tiers agree." if planned else "")
    return ""


def _basis_of_gold(told: int, *, has_quality: bool, measured: bool, planned: bool) -> str:
    known = f"The right answers to {counted(told, 'row')} were known"
    if has_quality:
        return f"{known}; how good the other answers are is estimated from these."
    if measured:
        return f"{known}; what to expect is estimated from these."
    said = f"{known}: too few to measure quality by, which takes {MIN_LABELS}."
    if planned:
        said += " The planner went by what is usual elsewhere."
    return said


def figures(status: dict[str, Any], facts: Facts, at: datetime) -> list[tuple[str, str, str]]:
    """Figures at the top: name, amount, a remark."""
    rows, spent = status["rows"], status["spent_nanousd"]
    budget = status["budget_nanousd"]
    failed = counted(rows["failed"], "failed", "failed") if rows["failed"] else "none failed"
    pending = f", {rows['pending']:,} to come" if rows["pending"] else ""
    found = [
        ("Rows answered", f"{rows['answered']:,}", f"of {rows['total']:,}; {failed}{pending}"),
        ("Spent", words.usd(spent), f"{words.part(spent, budget)} of {words.usd(budget)}"),
    ]
    if rows["answered"]:
        found.append(("Per 1,000 rows", words.per_1000(spent, rows["answered"]), "on average"))
    if status["quality"] is not None:
        found.append(("Quality", words.percent(status["quality"]), "answers expected to be right"))
    calls = sum(tier.calls for tier in facts.tiers)
    found.append(("Calls", f"{calls:,}", f"planned in {counted(status['waves'], 'wave')}"))
    began = curves.at_moment(status["started_at"])
    if began is not None:
        ended = curves.at_moment(status["finished_at"])
        lasted = words.duration(max(((ended or at) - began).total_seconds(), 0.0))
        found.append(("Time", lasted, words.moment(began) if ended else "so far"))
    for what, name, remark in (
        ("at_risk", "At risk", "may have been billed"),
        ("reserved", "Reserved", "for calls in flight"),
        ("overrun", "Overrun", "billed beyond the declared worst case"),
        ("saved", "Saved", "by answers that were there already"),
    ):
        if status[f"{what}_nanousd"]:
            found.append((name, words.usd(status[f"{what}_nanousd"]), remark))
    return found


def columns_of(figures_shown: int) -> int:
    """In how many columns so many figures stand, so that no line holds one alone."""
    lines = -(-figures_shown // MOST_COLUMNS)
    return -(-figures_shown // lines)
