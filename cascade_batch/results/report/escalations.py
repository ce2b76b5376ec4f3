"""What was asked again: how often, why, and what it changed.

Three numbers are near each other and not the same: rows with answers from more than one tier, how often rows
were sent on (a row may be sent on twice), and how many answers that brought (a call may be lost). Whoever
shows one of them says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cascade_batch.domain.counting import counted
from cascade_batch.results.report import canvas, words
from cascade_batch.results.report.bars import Chart, Part, draw_bars
from cascade_batch.results.report.facts import Facts, Flow

PROBE = "probe"
CAUSES = {
    "check": "failed the check",
    "judge": "the judge said no",
    "unfit": "did not fit the output",
    "cut_off": "cut off at the token limit",
    "unsure": "confidence under 60 %",
    "rather_sure": "confidence 60 to 90 %",
    "sure": "confidence 90 % or more",
    "passed": "had passed the check",
    "expected": "no confidence given",
    PROBE: "to compare the tiers",
}
"""What was wrong with, or doubtful about, the answer held when another was bought; or that it was bought to
learn."""


_CHEAPER = "for a second opinion: for little money it can confirm an answer or cast doubt on it."
_CHEAPER_FOR_CHECK = "as it costs little to see whether its answer passes the check."


def rows_with_several(flows: Sequence[Flow]) -> int:
    """How many rows more than one tier answered."""
    return sum(flow.rows for flow in flows if len(flow.path) > 1)


def counts_text(facts: Facts) -> str:
    """How many rows, how many times, how many answers: what each of the charts counts."""
    several = rows_with_several(facts.flows)
    sent = sum(cause.rows for cause in facts.causes)
    said = f"{counted(several, 'row')} {_has(several)} answers from more than one tier."
    if not sent:
        return said
    came = sum((len(flow.path) - 1) * flow.rows for flow in facts.flows)
    were = "were to be" if came < sent else "were"
    said += f" Rows {were} sent on to another tier {counted(sent, 'time')}"
    said += ", and a row can be sent on more than once." if sent > several else "."
    if came < sent:
        said += (
            f" {sent - came:,} of these brought no answer: {_without_answer(facts, sent - came)}."
        )
    elif came > sent:
        said += (
            f" {counted(came - sent, 'further answer')} {'was' if came - sent == 1 else 'were'}"
            " taken over from earlier jobs."
        )
    return said


def _without_answer(facts: Facts, missing: int) -> str:
    """What became of so many rows that were sent on and got no answer there."""
    refused = sum(tier.refused_rows for tier in facts.tiers)
    lost = sum(tier.lost_calls for tier in facts.tiers)
    said = ["refused by the tier"] * bool(refused) + ["the call lost"] * bool(lost)
    if refused + lost < missing:
        said += ["not covered at worst case by the money that was left", "not yet back"]
    return ", or ".join(said)


def directions_text(facts: Facts, policy: str | None, labels: str | None) -> str:
    """Why rows went to a dearer tier, to a cheaper one, or to both."""
    if policy == "every":
        return "The policy 'every' asks each row on every tier, whatever the answers."
    if policy != "auto":
        return f"The policy {policy!r} chose them by a rule of its own, not by what was expected of them."
    bought = [cause for cause in facts.causes if cause.cause != PROBE]
    up = sum(cause.rows for cause in bought if cause.tier_no > cause.from_tier)
    down = sum(cause.rows for cause in bought if cause.tier_no < cause.from_tier)
    probes = sum(cause.rows for cause in facts.causes if cause.cause == PROBE)
    said = []
    if up:
        said.append(
            f"{counted(up, 'time')} a dearer tier was asked, as its answer was expected to be better by"
            " enough to be worth its price."
        )
    if down:
        said.append(
            f"{counted(down, 'time')} a cheaper tier was asked, {_CHEAPER_FOR_CHECK}"
            if labels == "check"
            else f"{counted(down, 'time')} a cheaper tier was asked, {_CHEAPER}"
        )
    if probes:
        said.append(
            f"{counted(probes, 'time')} a tier was asked only to compare the tiers (a probe): a few"
            " rows, drawn at random, are asked on every tier, up or down, whatever their answers."
        )
    return " ".join(said)


def causes_of_escalation(facts: Facts) -> Chart:
    """What was known of the answers that were held when more was asked for."""
    causes = [key for key in CAUSES if any(c.cause == key for c in facts.causes)]
    tiers = sorted({c.tier_no for c in facts.causes})
    rows: Counter[tuple[str, int]] = Counter()
    for one in facts.causes:
        rows[one.cause, one.tier_no] += one.rows
    parts = [
        Part(
            f"sent to {facts.tiers[no].name}",
            canvas.tier_colour(no),
            [float(rows[cause, no]) for cause in causes],
        )
        for no in tiers
    ]
    totals = [sum(rows[cause, no] for no in tiers) for cause in causes]
    title = "Why rows were sent on: what was known of the answer at hand"
    most, cause = max(zip(totals, causes, strict=True))
    text = (
        f"Bars, one per reason. The most frequent: {CAUSES[cause]},"
        f" {counted(most, 'escalation')} of {sum(totals):,}."
    )
    svg = draw_bars(
        "causes", title, text, [CAUSES[c] for c in causes], parts, [f"{n:,}" for n in totals],
        counted="times that a row was sent on",
    )  # fmt: skip
    table = [
        [CAUSES[cause], facts.tiers[no].name, f"{rows[cause, no]:,}"]
        for cause in causes
        for no in tiers
        if rows[cause, no]
    ]
    return Chart(title, text, svg, ["The answer at hand", "Sent to", "Times"], table)


_OUTCOMES = {
    "wrong, became right": canvas.GOOD,
    "right, stayed right": canvas.SAME,
    "wrong, stayed wrong": canvas.UNKNOWN,
    "right, became wrong": canvas.BAD,
    "changed": canvas.ACCENT,
    "unchanged": canvas.SAME,
    "can't be compared": canvas.UNKNOWN,
}


def outcomes(flows: Sequence[Flow]) -> dict[str, int]:
    """What became of the first answers of rows that several tiers answered, in rows."""
    found: Counter[str] = Counter()
    for flow in flows:
        if len(flow.path) > 1:
            found[_outcome(flow)] += flow.rows
    return {name: found[name] for name in _OUTCOMES if name in found}


def _outcome(flow: Flow) -> str:
    if flow.first_right is not None and flow.final_right is not None:
        was, became = flow.first_right, flow.final_right
        return {
            (False, True): "wrong, became right",
            (True, False): "right, became wrong",
            (True, True): "right, stayed right",
            (False, False): "wrong, stayed wrong",
        }[was, became]
    if flow.changed is None:
        return "can't be compared"
    return "changed" if flow.changed else "unchanged"


def outcome_of_escalation(facts: Facts) -> Chart:
    """Whether asking again made a difference."""
    found = outcomes(facts.flows)
    names = list(found)
    parts = [
        Part(
            name,
            _OUTCOMES[name],
            [float(found[name]) if bar == place else 0.0 for bar in range(len(names))],
        )
        for place, name in enumerate(names)
    ]
    title = "What it changed: the final answer, beside the first"
    text = "Bars: " + "; ".join(f"{name}: {counted(found[name], 'row')}" for name in names) + "."
    total = sum(found.values())
    known = sum(number for name, number in found.items() if "right" in name)
    note = f"{counted(total, 'row')} with answers from more than one tier, each counted once."
    if 0 < known < total:
        note += (
            f" Of {known:,} it is known which answers are right; of the others, only whether the answer"
            " changed."
        )
    svg = draw_bars(
        "outcome", title, text, names, parts, [f"{found[n]:,}" for n in names], legend=False
    )
    rows = [[name, f"{found[name]:,}", words.part(found[name], total)] for name in names]
    return Chart(title, text, svg, ["The first answer", "Rows", "Share"], rows, note)


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
