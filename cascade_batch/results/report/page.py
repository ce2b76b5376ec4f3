"""The page: what is said, in which order, and which charts go with it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from cascade_batch import __version__
from cascade_batch.domain.counting import counted
from cascade_batch.results.report import bars, canvas, curves, escalations, hills, summary, words
from cascade_batch.results.report.bars import Chart
from cascade_batch.results.report.curves import TierPoint, interval_90
from cascade_batch.results.report.examples import shown_example
from cascade_batch.results.report.facts import FEWEST_ROWS, Facts

_AT_RISK = (
    "Nobody knows how these calls ended: a worker died, a connection broke or a call took too long after the"
    " request was sent. The provider may have billed them, so their worst case stays set aside."
)
_RELEASE = (
    "Once an invoice shows that they were not billed, this gives the money back to the job (without --release"
    " it lists the calls):"
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
    """A table; `command` is what to type next, `has_text`: its last column holds sentences."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    command: str = ""
    has_text: bool = False


@dataclass(frozen=True, slots=True)
class _Bought:
    chart: Chart | None
    sentences: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Again:
    """What was asked again: in words, and drawn."""

    sentences: Sequence[str]
    charts: Sequence[Chart]


def render_page(subject: Subject, facts: Facts, *, at: datetime | None = None) -> str:
    """The whole page, as text.

    Args:
        at: When it is made; now, if None.
    """
    status = subject.status
    at = at or datetime.now(UTC)
    figures = summary.figures(status, facts, at)
    measured = subject.frontier is not None and subject.frontier["measured"]
    return _template().render(
        name=status["name"],
        state=status["status"],
        reason=_with_code(status["reason"] or ""),
        made_at=words.moment(at),
        version=__version__,
        summary=summary.summary(status, facts),
        figures=figures,
        columns=summary.columns_of(len(figures)),
        basis=summary.basis(status, facts, measured=measured),
        bought=_bought(subject, facts),
        tiers=_tiers(facts),
        flow=_if(_has_flow(status, facts), lambda: _flow(status, facts)),
        again=_again(status, facts),
        examples=[shown_example(facts, e) for e in facts.examples],
        money=_money_charts(status, facts),
        latency=_if(
            any(sum(t.latency_buckets) for t in facts.tiers), lambda: hills.latencies(facts.tiers)
        ),
        problems=_problems(facts),
        at_risk=_at_risk(status, facts),
        colours=list(enumerate(canvas.tier_colours(len(facts.tiers)))),
    )


def _with_code(text: str) -> Markup:
    """A text for terminals, with what stands between backquotes as code."""
    parts = [escape(part) for part in text.split("`")]
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup().join(parts)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("cascade_batch.results.report") / "template" / "page.html"
    return environment.from_string(source.read_text("utf-8"))


def _if(is_so: bool, draw: Callable[[], Chart]) -> Chart | None:
    return draw() if is_so else None


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
            words.per_1000(tier.spent_nanousd, tier.answers - tier.cached),
        ]
        for tier in facts.tiers
    ]
    columns = [
        "Tier",
        "Model",
        "Calls",
        "Answers",
        "Tokens in",
        "Tokens out",
        "Spent",
        "Per 1,000 answers",
    ]
    stopped = [f"{tier.name} was stopped: {tier.stopped}." for tier in facts.tiers if tier.stopped]
    return _Table("Tiers, cheap to dear", columns, rows, words.cut(" ".join(stopped)))


def _bought(subject: Subject, facts: Facts) -> _Bought:
    """What the money bought: a curve where there is a choice of budgets, words where there is none."""
    frontier, status = subject.frontier, subject.status
    measured = frontier is not None and frontier["measured"]
    points = _tier_points(facts, status["rows"]["total"]) if measured or _is_alone(facts) else []
    if _is_alone(facts):
        return _Bought(None, [_alone_text(facts, point) for point in points])
    if frontier is None or not frontier["points"]:
        return _Bought(None, [])
    quality = status["quality"]
    here = None if quality is None else (status["spent_nanousd"], quality)
    chart = curves.quality_against_money(frontier, points, here)
    return _Bought(chart, [subject.next_money] if subject.next_money else [])


def _is_alone(facts: Facts) -> bool:
    """One tier: more money buys nothing, and a curve over budgets would be flat."""
    return len(facts.tiers) == 1


def _alone_text(facts: Facts, point: TierPoint) -> str:
    known = "the right answer is known" if facts.gold_column else "the check decided"
    verb = "were answered right" if facts.gold_column else "passed"
    return f"{point.name}: {point.seen} for which {known} {verb} ({point.interval})."


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


def _has_flow(status: dict[str, Any], facts: Facts) -> bool:
    """Whether there is more to draw than one bar of one colour."""
    rows = status["rows"]
    parts = len({(flow.path, flow.stands) for flow in facts.flows})
    return parts > 0 and parts + bool(rows["failed"] + rows["pending"]) > 1


def _again(status: dict[str, Any], facts: Facts) -> _Again | None:
    several = escalations.rows_with_several(facts.flows)
    if not several and not facts.causes:
        return None
    sentences = [escalations.counts_text(facts)]
    charts = []
    if facts.causes:
        sentences.append(escalations.directions_text(facts, status["policy"], status["labels"]))
        charts.append(escalations.causes_of_escalation(facts))
    if several:
        charts.append(escalations.outcome_of_escalation(facts))
    return _Again(sentences, charts)


def _money_charts(status: dict[str, Any], facts: Facts) -> list[Chart]:
    charts = []
    if len(facts.tiers) > 1 and any(tier.spent_nanousd for tier in facts.tiers):
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
            "Final answers that don't fit the output",
            facts.unfit,
            "No tier did better: the text is kept, and its value is null.",
        ),
    ):
        if failures:
            rows = [[f"{f.rows:,}", str(f.row_no), words.cut(f.example)] for f in failures]
            found.append(_Table(title, ["Rows", "First row", "Reason"], rows, note, has_text=True))
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
                has_text=True,
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
    note = f"{_AT_RISK} {_RELEASE}" if lost else ""
    command = f"cascade-batch reconcile {shlex.quote(status['name'])} --release --because"
    if facts.released_calls:
        note += (
            f" {counted(facts.released_calls, 'call')} of {words.usd(facts.released_nanousd)} at worst"
            " were released by hand, as the provider's invoice does not list them."
        )
    return _Table(
        "Money at risk",
        ["Tier", "What happened", "Calls", "Worst case"],
        rows,
        note.strip(),
        command=f'{command} "invoice 2026-11"' if lost else "",
    )
