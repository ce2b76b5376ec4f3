"""A job's story as a terminal shows it: for `watch`, where it moves, and for `status`, where it stands still.

Words keep the terminal's own colour, as no other is legible on light and dark alike; colours are in bars.
Whatever the width, no line is longer: columns that do not fit are left out, the least telling first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cascade_batch.cli.bars import (
    AHEAD,
    DONE,
    FAILED,
    NOTHING,
    UNDER_WAY,
    Part,
    bar,
    mark_of,
)
from cascade_batch.cli.frame import printable
from cascade_batch.cli.money import money_parts
from cascade_batch.cli.output import latency_text
from cascade_batch.domain.money import format_usd, usd_to_nanousd

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from cascade_batch.engine.outlook import Outlook, Trouble

Status = Mapping[str, Any]

_ROWS = {"answered": DONE, "failed": FAILED, "pending": AHEAD}
_MONEY = {
    "spent": DONE,
    "overrun": Part("X", "X", "bold red"),
    "at risk": FAILED,
    "reserved": UNDER_WAY,
    "free": AHEAD,
}
_CALLS = {"answered": DONE, "in flight": UNDER_WAY, "waiting": AHEAD}
_WORDS = {"overrun": "billed beyond the declared worst case"}
_COLUMNS = ("answers", "to come", "spent", "p50", "escalated to", "calls", "p95")
_RANK = ("answers", "spent", "to come", "p50", "escalated to", "p95", "calls")
"""Which columns a narrow terminal keeps, the most telling first."""
_GAP = 2
_LEAST_BAR, _MOST_BAR = 8, 80
_LABEL = 14


@dataclass(frozen=True, slots=True)
class Page:
    """How much room there is, and what can be written in it.

    Attributes:
        width: Columns.
        unicode: Whether the output can show more than ASCII.
        one_line: Whether a note that is too long is cut off at the end of its line (for what moves).
    """

    width: int
    unicode: bool
    one_line: bool = False

    @property
    def cut(self) -> Literal["ellipsis", "crop"]:
        """How what is too long for a line ends."""
        return "ellipsis" if self.unicode else "crop"

    @classmethod
    def of(cls, console: Console, *, one_line: bool = False) -> Page:
        """The page that a console draws on."""
        return cls(console.width, console.encoding.lower().startswith("utf"), one_line)


def draw(
    status: Status,
    outlook: Outlook | None,
    page: Page,
    *,
    facts: Sequence[str] = (),
    notes: Sequence[tuple[str, str]] = (),
) -> RenderableType:
    """Draw a job: its rows, a bar for each of its tiers, its money, and notes.

    Args:
        status: As `job_status` gives it.
        outlook: What lies ahead; None: only what is done is drawn.
        page: Where it has to fit.
        facts: What the line below the name says.
        notes: (label, text) of the lines at the end.
    """
    from rich.console import Group
    from rich.text import Text

    head = Text(printable(status["name"]), style="bold", overflow="fold")
    head.append(f"  {status['status']}", style="not bold")
    parts: list[RenderableType] = [head]
    if facts:
        parts.append(Text((" · " if page.unicode else ", ").join(facts)))
    label = max(len("Errors"), *(min(len(name), _LABEL) for name in status["tiers"]))
    label = min(label, max(page.width // 4, 6)) + _GAP
    rows, money = status["rows"], money_parts(status)
    done = rows["answered"] + rows["failed"]
    share = f"{done * 100 // rows['total']} %" if rows["total"] else ""
    parts += [
        Text(),
        _whole("Rows", {k: rows[k] for k in _ROWS}, _ROWS, share, label, page),
        _legend({k: f"{rows[k]:,} {k}" for k in _ROWS if rows[k] or k == "answered"}, _ROWS, label, page),
        Text(),
        _tiers(status, outlook, label, page),
        *_legend_of_tiers(outlook, label, page),
        Text(),
        _whole("Money", money, _MONEY, f"of {format_usd(status['budget_nanousd'])}", label, page),
        _legend(
            {
                k: f"{format_usd(money[k])} {_WORDS.get(k, k)}"
                for k in _MONEY
                if money[k] or k in ("spent", "free")
            },
            _MONEY,
            label,
            page,
        ),
    ]  # fmt: skip
    if notes:
        parts += [Text(), _notes(notes, label, page)]
    return Group(*parts)


def _whole(
    name: str,
    values: Mapping[str, int],
    parts: Mapping[str, Part],
    after: str,
    label: int,
    page: Page,
) -> Text:
    """A bar as wide as the page lets it be, between its name and what it adds up to."""
    from rich.text import Text

    width = min(max(page.width - label - 1 - len(after), 1), _MOST_BAR)
    text = Text(f"{name:<{label}}", no_wrap=True, overflow="crop")
    text.append_text(bar(list(values.values()), [*parts.values()], width, unicode=page.unicode))
    return text.append(f" {after}")


def _legend(
    words: Mapping[str, str], parts: Mapping[str, Part], label: int, page: Page
) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    text, used = Text(), 0
    room = page.width - label
    for key, word in words.items():
        length = len(word) + 2
        if used:
            # A mark stays with its words.
            fits = used + _GAP + length <= room
            text.append(" " * _GAP if fits else "\n")
            used = used + _GAP if fits else 0
        text.append(mark_of(parts[key], unicode=page.unicode), style=parts[key].style)
        text.append(f" {word}")
        used += length
    return Padding(text, (0, 0, 0, label))


def _legend_of_tiers(outlook: Outlook | None, label: int, page: Page) -> list[RenderableType]:
    if outlook is None or not any(tier.open for tier in outlook.tiers.values()):
        return []
    return [_legend({k: k for k in _CALLS}, _CALLS, label, page)]


def _tiers(status: Status, outlook: Outlook | None, label: int, page: Page) -> RenderableType:
    """A line per tier. All bars have one scale: their lengths tell how much of the job each tier does."""
    from rich.table import Table
    from rich.text import Text

    tiers: Mapping[str, Mapping[str, Any]] = status["tiers"]
    cells = {name: _cells(name, tier, outlook) for name, tier in tiers.items()}
    widths = {
        title: max(len(title), *(len(row[title]) for row in cells.values())) for title in _COLUMNS
    }
    if outlook is None or not any(tier.open for tier in outlook.tiers.values()):
        del widths["to come"]
    least = max(page.width // 4, _LEAST_BAR)
    room = page.width - label - least
    kept = set()
    for title in _RANK:
        if title in widths and widths[title] + _GAP <= room:
            kept.add(title)
            room -= widths[title] + _GAP
        elif title in widths:
            break
    shown = [title for title in _COLUMNS if title in kept]
    width = max(min(least + min(room, 0), _MOST_BAR), 1)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="default")
    table.add_column("Tier", width=label - _GAP, no_wrap=True)
    table.add_column("", width=min(width, max(page.width - label, 1)), no_wrap=True)
    for title in shown:
        table.add_column(title, justify="right", no_wrap=True, width=widths[title])
    calls = {name: _calls(tier, outlook, name) for name, tier in tiers.items()}
    scale = max(status["rows"]["total"], *(sum(made) for made in calls.values()))
    for name, row in cells.items():
        made = calls[name]
        table.add_row(
            Text(printable(name), overflow=page.cut),
            bar(
                [*made, scale - sum(made)],
                [*_CALLS.values(), NOTHING],
                width,
                unicode=page.unicode,
            ),
            *(row[title] for title in shown),
        )
    return table


def _cells(name: str, tier: Mapping[str, Any], outlook: Outlook | None) -> dict[str, str]:
    ahead = outlook.tiers.get(name) if outlook else None
    return {
        "answers": f"{tier['answers']:,}",
        "to come": f"{ahead.open:,}" if ahead else "",
        "spent": format_usd(usd_to_nanousd(tier["spent_usd"])),
        "p50": latency_text(tier["latency_ms_p50"]),
        "escalated to": f"{tier['escalated']:,}",
        "calls": f"{tier['calls']:,}",
        "p95": latency_text(tier["latency_ms_p95"]),
    }


def _calls(tier: Mapping[str, Any], outlook: Outlook | None, name: str) -> tuple[int, int, int]:
    """Answers that are there, in flight and waited for."""
    ahead = outlook.tiers.get(name) if outlook else None
    if ahead is None:
        return tier["answers"], 0, 0
    return tier["answers"], ahead.in_flight, ahead.open - ahead.in_flight


def _notes(notes: Sequence[tuple[str, str]], label: int, page: Page) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    table.add_column(width=label - _GAP, no_wrap=True)
    table.add_column(width=max(page.width - label, 1), no_wrap=page.one_line)
    last = None
    for name, text in notes:
        shown = Text(
            printable(text.replace("\n", " ")), overflow=page.cut if page.one_line else "fold"
        )
        table.add_row("" if name == last else name, shown)
        last = name
    return table


def trouble_notes(status: Status, outlook: Outlook | None, *, most: int) -> list[tuple[str, str]]:
    """Tiers that stopped, and what went wrong last; a few lines."""
    notes = [
        ("Errors", f"{name} is stopped: {tier['stopped']}")
        for name, tier in status["tiers"].items()
        if tier["stopped"]
    ]
    notes += [("Errors", trouble_text(one)) for one in (outlook.troubles if outlook else ())]
    if len(notes) > most:
        notes = [*notes[: most - 1], ("Errors", f"and {len(notes) - most + 1} more kinds")]
    return notes


def trouble_text(one: Trouble) -> str:
    """One kind of trouble in a line: how often, where, what."""
    how = "lost on" if one.what == "lost" else "refused by"
    return f"{one.count:,} {how} {one.tier}: {one.message}"
