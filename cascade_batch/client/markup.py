"""A job or its audit in a notebook: one small table, complete in itself.

Colours of text and ground are the notebook's own, so that it can be read on a dark page as on a light one;
what is coloured is told by a word or a number as well. Names come from strangers' files and providers'
errors from strangers' servers: everything is escaped, and there is no script.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from cascade_batch.client.progress import money_text, rows_text, usd_text
from cascade_batch.client.telling import advice, as_sentence

if TYPE_CHECKING:
    from cascade_batch.client.audit import Audit
    from cascade_batch.client.progress import Progress
    from cascade_batch.errors import CascadeError

_LINE = "1px solid rgba(128,128,128,.4)"
_GREEN, _RED, _AMBER = "#2e9e5b", "#d64545", "#c98a1b"
_CELL = "padding:2px 14px 2px 0;text-align:{align};white-space:{wrap};border:0"


def progress_html(progress: Progress) -> str:
    """A job's progress: state, rows, money, a line per tier."""
    head = Markup("<b>{}</b> {}").format(progress.job, progress.status)
    if why := progress.rest or progress.reason:
        head += Markup(" ({})").format(why)
    if progress.quality is not None:
        head += Markup(" · quality {:.3f}").format(progress.quality)
    for text in progress.pace_texts():
        head += Markup(" · {}").format(text)
    parts = [
        Markup("<div>{}</div>").format(head),
        _bar(
            "Rows",
            [
                ("answered", progress.rows_answered, _GREEN),
                ("failed", progress.rows_failed, _RED),
            ],
            progress.rows_total,
            rows_text(progress),
        ),
        _bar(
            "Money",
            [
                ("spent", progress.spent_usd, _GREEN),
                ("reserved", progress.reserved_usd, _AMBER),
                ("at risk", progress.at_risk_usd, _RED),
            ],
            progress.budget_usd,
            money_text(progress),
        ),
        _tiers(progress),
        *(Markup("<div>{}</div>").format(as_sentence(clause)) for clause in advice(progress)),
    ]
    return _box(parts)


def audit_html(audit: Audit) -> str:
    """What an audit found: its word, what differs or is at risk, and the sums."""
    colour = _GREEN if audit.is_ok else _RED
    word = Markup('<b>{}</b> audit: <b style="color:{}">{}</b>').format(
        audit.job, colour, "OK" if audit.is_ok else "DIFFERS"
    )
    said = [
        Markup("<div>{}: {}</div>").format(title, text)
        for title, text in audit.lines()
        if title != "OK"
    ]
    sums = (
        ("Budget", usd_text(audit.budget_usd)),
        ("Spent", usd_text(audit.spent_usd)),
        ("Reserved", usd_text(audit.reserved_usd)),
        ("At risk", usd_text(audit.at_risk_usd)),
        ("Overrun", usd_text(audit.overrun_usd)),
        ("Rows", f"{audit.rows:,}"),
        ("Answers", f"{audit.answers:,}"),
        ("Verdicts", f"{audit.verdicts:,}"),
        ("Entries", f"{audit.entries:,}"),
    )
    titles, texts = zip(*sums, strict=True)
    right = range(len(sums))
    return _box([Markup("<div>{}</div>").format(word), *said, _table(titles, [texts], right)])


def _box(parts: Iterable[Markup]) -> str:
    return str(
        Markup('<div style="font-size:90%;line-height:1.5;overflow-x:auto">{}</div>').format(
            Markup("").join(parts)
        )
    )


def error_html(job: str, error: CascadeError) -> str:
    """What stands in the table's place where nothing can be known of a job."""
    hint = Markup("<br>{}").format(error.hint) if error.hint else ""
    return str(Markup("<div><b>{}</b>: {}{}</div>").format(job, error.message, hint))


def _bar(name: str, parts: Sequence[tuple[str, float, str]], whole: float, text: str) -> Markup:
    pieces = Markup("").join(
        Markup(
            '<span title="{}" style="display:inline-block;height:100%;background:{};width:{:.2f}%">'
            "</span>"
        ).format(what, colour, 100 * amount / whole)
        for what, amount, colour in parts
        if amount and whole
    )
    return Markup(
        '<div style="display:flex;align-items:center;gap:10px">'
        '<span style="width:4em">{}</span>'
        '<span style="display:inline-block;width:16em;height:.7em;overflow:hidden;white-space:nowrap;'
        'line-height:0;border:{}">{}</span><span>{}</span></div>'
    ).format(name, _LINE, pieces, text)


def _tiers(progress: Progress) -> Markup:
    titles = ("Tier", "Model", "Calls", "Answers", "Escalated to", "Spent", "p50", "p95", "")
    rows = [
        (
            tier.name,
            tier.model,
            f"{tier.calls:,}",
            f"{tier.answers:,}",
            f"{tier.escalated:,}",
            usd_text(tier.spent_usd),
            _latency(tier.latency_ms_p50),
            _latency(tier.latency_ms_p95),
            tier.stopped or "",
        )
        for tier in progress.tiers
    ]
    return _table(titles, rows, range(2, 8))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Container[int]) -> Markup:
    """A table whose columns of figures, `right`, end at the right; the last one of texts may be folded."""
    return Markup(
        '<table style="border-collapse:collapse;margin:6px 0 0;background:transparent;color:inherit;'
        'font-size:inherit">'
        '<thead style="border-bottom:{}"><tr style="background:transparent">{}</tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(
        _LINE,
        _cells("th", titles, right),
        Markup("").join(
            Markup('<tr style="background:transparent">{}</tr>').format(_cells("td", row, right))
            for row in rows
        ),
    )


def _cells(tag: str, texts: Sequence[str], right: Container[int]) -> Markup:
    return Markup("").join(
        Markup('<{} style="{}">{}</{}>').format(
            tag,
            _CELL.format(
                align="right" if place in right else "left",
                wrap="normal" if place not in right and place == len(texts) - 1 else "nowrap",
            ),
            text,
            tag,
        )
        for place, text in enumerate(texts)
    )


def _latency(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"
