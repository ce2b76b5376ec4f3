"""The page: what is said, in which order, and which charts go with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from cascade_batch import __version__
from cascade_batch.results.report import bars, canvas, curves, words
from cascade_batch.results.report.bars import Chart
from cascade_batch.results.report.curves import TierPoint, interval_90
from cascade_batch.results.report.facts import FEWEST_ROWS, Facts

TIERS_NAMED = 3
"""How many tiers the first sentences name."""
_LABELS = {
    "check": "A check decided on every answer: a row stopped where one passed.",
    "gold": "Right answers were known for some rows; what to expect was learnt from these.",
    "judge": "A judge tier gave its word on answers. It errs, too.",
    "agreement": "Nobody labelled this job. It went by how often tiers agree, which measures nothing.",
}
_AT_RISK = (
    "The end of these calls is not known: a worker died, a connection broke or a time ran out after the"
    " request was sent. The provider may have billed them, so their worst case stays set aside."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The job that a report is about, as commands know it.

    Attributes:
        status: As `job_status` gives it.
        frontier: As `job_frontier` gives it; None where none can be drawn.
        next_money: One sentence on what more money is expected to buy.
    """

    status: dict[str, Any]
    frontier: dict[str, Any] | None
    next_money: str | None


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def render_page(subject: Subject, facts: Facts, *, at: datetime | None = None) -> str:
    """The whole page, as text.

    Args:
        at: When it is made; now, if None.
    """
    status = subject.status
    at = at or datetime.now(UTC)
    return _template().render(
        name=status["name"],
        state=status["status"],
        reason=status["reason"],
        made_at=words.moment(at),
        version=__version__,
        summary=_summary(status, facts),
        figures=_figures(status, facts, at),
        labels=_LABELS.get(status["labels"] or "", ""),
        next_money=subject.next_money,
        tiers=_tiers(facts),
        quality=_quality_chart(subject, facts),
        flow=_if(bool(facts.flows), lambda: _flow(status, facts)),
        escalations=_escalations(facts),
        examples=[_example(facts, e) for e in facts.examples],
        money=_money_charts(status, facts),
        latency=_if(
            any(sum(t.latency_buckets) for t in facts.tiers), lambda: curves.latencies(facts.tiers)
        ),
        problems=_problems(facts),
        at_risk=_at_risk(status, facts),
        colours=list(enumerate(canvas.tier_colours(len(facts.tiers)))),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("cascade_batch.results.report") / "template" / "page.html"
    return environment.from_string(source.read_text("utf-8"))


def _if(is_so: bool, draw: Callable[[], Chart]) -> Chart | None:
    return draw() if is_so else None


def _summary(status: dict[str, Any], facts: Facts) -> str:
    """What a reader who reads one sentence should read."""
    rows = status["rows"]
    spent, budget = status["spent_nanousd"], status["budget_nanousd"]
    said = (
        f"{rows['answered']:,} of {words.counted(rows['total'], 'row')}"
        f" {'was' if rows['total'] == 1 else 'were'} answered for {words.usd(spent)}"
        f" of a budget of {words.usd(budget)}"
    )
    if rows["answered"]:
        said += f", {words.per_row(spent, rows['answered'])} a row"
    said += "."
    standing: dict[int, int] = {}
    for flow in facts.flows:
        standing[flow.stands] = standing.get(flow.stands, 0) + flow.rows
    total = sum(standing.values())
    if len(facts.tiers) > 1 and total:
        ordered = sorted(standing.items(), key=lambda one: -one[1])
        shares = [
            f"{words.part(count, total)} from {facts.tiers[no].name}"
            for no, count in ordered[:TIERS_NAMED]
        ]
        if others := ordered[TIERS_NAMED:]:
            rest = sum(count for _, count in others)
            shares.append(
                f"{words.part(rest, total)} from {words.counted(len(others), 'other', 'others')}"
            )
        several = sum(f.rows for f in facts.flows if len(f.path) > 1)
        said += f" The answers that count come {_listed(shares)}."
        said += f" {words.counted(several, 'row')} asked more than one tier." if several else ""
    return said


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _figures(status: dict[str, Any], facts: Facts, at: datetime) -> list[tuple[str, str, str]]:
    """Figures at the top: name, amount, a remark."""
    rows, spent = status["rows"], status["spent_nanousd"]
    budget = status["budget_nanousd"]
    failed = words.counted(rows["failed"], "failed", "failed") if rows["failed"] else "none failed"
    pending = f", {rows['pending']:,} to come" if rows["pending"] else ""
    found = [
        ("Rows answered", f"{rows['answered']:,}", f"of {rows['total']:,}; {failed}{pending}"),
        ("Spent", words.usd(spent), f"{words.part(spent, budget)} of {words.usd(budget)}"),
    ]
    if rows["answered"]:
        found.append(("A row", words.per_row(spent, rows["answered"]), "on average"))
    if status["quality"] is not None:
        found.append(
            ("Expected quality", words.percent(status["quality"]), "mean over all rows, calibrated")
        )
    calls = sum(tier.calls for tier in facts.tiers)
    found.append(("Calls", f"{calls:,}", f"{words.counted(status['waves'], 'wave')} of the plan"))
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


def _tiers(facts: Facts) -> _Table:
    rows = [
        [
            tier.name,
            tier.model,
            f"{tier.calls:,}",
            f"{tier.answers:,}",
            f"{tier.input_tokens:,}",
            f"{tier.output_tokens:,}",
            words.usd(tier.spent_nanousd),
            words.per_row(tier.spent_nanousd, tier.answers - tier.cached),
        ]
        for tier in facts.tiers
    ]
    columns = ["Tier", "Model", "Calls", "Answers", "Tokens in", "Tokens out", "Spent", "An answer"]
    stopped = [f"{tier.name} was stopped: {tier.stopped}." for tier in facts.tiers if tier.stopped]
    return _Table("Tiers, cheap to dear", columns, rows, words.cut(" ".join(stopped)))


def _quality_chart(subject: Subject, facts: Facts) -> Chart | None:
    frontier, status = subject.frontier, subject.status
    if frontier is None or not frontier["points"]:
        return None
    measured = frontier["measured"]
    quality = status["quality"]
    here = None if quality is None else (status["spent_nanousd"], quality)
    return curves.quality_against_money(
        frontier,
        _tier_points(facts, status["rows"]["total"]) if measured else [],
        here,
        name="expected quality" if measured else "expected (unmeasured)",
    )


def _tier_points(facts: Facts, rows_total: int) -> list[TierPoint]:
    """What all rows on one tier would come to, where that was seen on rows that nobody chose."""
    points = []
    for no, tier in enumerate(facts.tiers):
        fair = facts.fair.get(no)
        if fair is None or not fair.is_fair or fair.told < FEWEST_ROWS:
            continue
        low, high = interval_90(fair.right, fair.told)
        cost = fair.cost_nanousd * rows_total // max(fair.rows, 1)
        share = fair.right / fair.told
        points.append(TierPoint(tier.name, no, cost, share, low, high, fair.told))
    return points


def _flow(status: dict[str, Any], facts: Facts) -> Chart:
    rows = status["rows"]
    return bars.flow_of_rows(facts, failed=rows["failed"], pending=rows["pending"])


def _escalations(facts: Facts) -> list[Chart]:
    charts = []
    if facts.causes:
        charts.append(bars.causes_of_escalation(facts))
    if any(len(flow.path) > 1 for flow in facts.flows):
        charts.append(bars.outcome_of_escalation(facts))
    return charts


def _example(facts: Facts, one: Any) -> dict[str, str]:
    draft = words.cut(one.draft) or f"(nothing: {words.cut(one.draft_error)})"
    cause = bars.CAUSES[one.cause]
    sure = words.probability_of(one.draft_logprob)
    return {
        "id": words.cut(one.custom_id, 60),
        "asked": words.row_text(one.input, one.input_text),
        "draft": draft,
        "draft_tier": facts.tiers[one.draft_tier].name,
        "draft_mark": _mark(one.draft_right),
        "cause": f"{cause} ({sure})" if sure and "confidence" in cause else cause,
        "answer": words.cut(one.answer) or f"(nothing: {words.cut(one.answer_error)})",
        "tier": facts.tiers[one.tier_no].name,
        "answer_mark": _mark(one.answer_right),
        "cost": words.usd(one.cost_nanousd),
        "gold": words.cut(one.gold),
    }


def _mark(is_right: bool | None) -> str:
    return {True: "right", False: "wrong", None: ""}[is_right]


def _money_charts(status: dict[str, Any], facts: Facts) -> list[Chart]:
    charts = []
    if any(tier.spent_nanousd for tier in facts.tiers):
        charts.append(bars.spend_by_tier(facts))
    if len(facts.spending) > 1:
        charts.append(
            curves.money_over_time(
                facts.spending, facts.tiers, budget_nanousd=status["budget_nanousd"]
            )
        )
    return charts


def _problems(facts: Facts) -> list[_Table]:
    found = []
    for title, failures, note in (
        ("Rows without an answer", facts.failures, ""),
        (
            "Answers that count although they don't fit the output",
            facts.unfit,
            "No tier did better: the text is kept, and its value is null.",
        ),
    ):
        if failures:
            rows = [[f"{f.rows:,}", str(f.row_no), words.cut(f.example)] for f in failures]
            found.append(_Table(title, ["Rows", "First row", "Reason"], rows, note))
    if facts.refusals:
        rows = [
            [tier, f"{f.rows:,}", str(f.row_no), words.cut(f.example)] for tier, f in facts.refusals
        ]
        found.append(
            _Table(
                "Rows that a tier refused",
                ["Tier", "Rows", "First row", "Reason"],
                rows,
                "Other tiers may have answered them.",
            )
        )
    return found


def _at_risk(status: dict[str, Any], facts: Facts) -> _Table | None:
    lost = status["at_risk_calls"]
    if not lost and not facts.released_calls:
        return None
    rows = [
        [one["tier"], one["reason"], f"{one['calls']:,}", words.usd(one["worst_nanousd"])]
        for one in lost
    ]
    note = _AT_RISK if lost else ""
    if facts.released_calls:
        note += (
            f" {words.counted(facts.released_calls, 'call')} of {words.usd(facts.released_nanousd)} at worst"
            " were released by name, as the provider's invoice does not have them."
        )
    return _Table(
        "Money at risk", ["Tier", "What happened", "Calls", "Worst case"], rows, note.strip()
    )
