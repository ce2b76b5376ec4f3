"""A job's story as a terminal shows it: for `watch`, where it moves, and for `status`, where it stands still.

Words keep the terminal's own colour, as no other is legible on light and dark alike; colours are in bars.
Whatever the width, no line is longer: columns that do not fit are left out, the least telling first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from cascade_batch.client.progress import rest_text
from cascade_batch.domain.job import JobState
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
_COLUMNS = ("calls", "answers", "to come", "escalated to", "spent", "p50", "p95")
"""From what was asked to what it took; what belongs together stands together."""
_RANK = ("answers", "spent", "to come", "p50", "escalated to", "p95", "calls")
"""Which columns a narrow terminal keeps, the most telling first."""
_BLANKS, _NOTES, _LEGEND, _ROWS_IN_WORDS, _FIRST_NOTE, _TIERS, _ROWS_DONE, _FACTS, _ALWAYS = range(
    9
)
"""What a low terminal leaves out, the least telling first; never the job's name, its state and its money."""
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
        height: Lines; None: as many as it takes.
    """

    width: int
    unicode: bool
    one_line: bool = False
    height: int | None = None

    @property
    def cut(self) -> Literal["ellipsis", "crop"]:
        """How what is too long for a line ends."""
        return "ellipsis" if self.unicode else "crop"

    @classmethod
    def of(cls, console: Console, *, one_line: bool = False, height: int | None = None) -> Page:
        """The page that a console draws on."""
        return cls(console.width, console.encoding.lower().startswith("utf"), one_line, height)


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
    names = [
        *(min(len(name), _LABEL) for name in status["tiers"]),
        *(len(name) for name, _ in notes),
    ]
    label = min(max(len("Errors"), *names), max(page.width // 4, 6)) + _GAP
    rows = status["rows"]
    done = rows["answered"] + rows["failed"]
    share = f"{done * 100 // rows['total']} %" if rows["total"] else ""
    if outlook is not None and outlook.reading:
        # A share of what is read so far would say that all is nearly done.
        share = f"of {rows['total']:,} so far"
    parts: list[tuple[int, RenderableType]] = [(_ALWAYS, head)]
    if facts:
        parts.append((_FACTS, Text((" · " if page.unicode else ", ").join(facts))))
    parts += [
        (_BLANKS, Text()),
        (_ROWS_DONE, _whole("Rows", {k: rows[k] for k in _ROWS}, _ROWS, share, label, page)),
        (
            _ROWS_IN_WORDS,
            _legend(
                {k: f"{rows[k]:,} {k}" for k in _ROWS if rows[k] or k == "answered"},
                _ROWS,
                label,
                page,
            ),
        ),
        (_BLANKS, Text()),
        (_TIERS, _tiers(status, outlook, label, page)),
        *((_LEGEND, legend) for legend in _legend_of_tiers(outlook, label, page)),
        (_BLANKS, Text()),
        *((_ALWAYS, part) for part in _money(status, label, page)),
    ]
    if notes:
        parts.append((_BLANKS, Text()))
        parts += [
            (_FIRST_NOTE if no == 0 else _NOTES, one)
            for no, one in enumerate(_notes(notes, label, page))
        ]
    return Group(*_fitting(parts, page))


def _fitting(parts: list[tuple[int, RenderableType]], page: Page) -> list[RenderableType]:
    """The parts that the page has room for. What is left out is a whole rank, or the last note."""
    if page.height is None:
        return [part for _, part in parts]
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=page.width, legacy_windows=False)
    left = [(rank, part, len(console.render_lines(part, pad=False))) for rank, part in parts]
    while sum(lines for _, _, lines in left) > page.height:
        first = min(rank for rank, _, _ in left)
        if first == _ALWAYS:
            break
        if first == _NOTES:
            del left[max(place for place, (rank, _, _) in enumerate(left) if rank == first)]
        else:
            left = [one for one in left if one[0] != first]
    return [part for _, part, _ in left]


def _money(status: Status, label: int, page: Page) -> list[RenderableType]:
    money = money_parts(status)
    words = {
        k: f"{format_usd(money[k])} {_WORDS.get(k, k)}"
        for k in _MONEY
        if money[k] or k in ("spent", "free")
    }
    whole = f"of {format_usd(status['budget_nanousd'])}"
    return [_whole("Money", money, _MONEY, whole, label, page), _legend(words, _MONEY, label, page)]


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


def _notes(notes: Sequence[tuple[str, str]], label: int, page: Page) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    last = None
    for name, text in notes:
        table = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        table.add_column(width=label - _GAP, no_wrap=True)
        table.add_column(width=max(page.width - label, 1), no_wrap=page.one_line)
        shown = Text(
            printable(text.replace("\n", " ")), overflow=page.cut if page.one_line else "fold"
        )
        table.add_row("" if name == last else name, shown)
        last = name
        yield table


def reason_notes(status: Status) -> list[tuple[str, str]]:
    """Why a job stands where it stands; of a finished one, why money is left. A line, or none."""
    if status["status"] == JobState.FINISHED and not status["deleting"]:
        rest = rest_text(status)
        return [("Left", rest)] if rest else []
    return [("Reason", status["reason"])] if status["reason"] else []


def next_notes(status: Status, outlook: Outlook | None) -> list[tuple[str, str]]:
    """What a job at work waits for, and what comes next."""
    notes = [("Silent", text) for text in (outlook.silent if outlook else ())]
    if still := status["standstill"]:
        return notes + [
            ("Still", f"for {still['idle_s']:.0f} s: {why}") for why in still["reasons"]
        ]
    return notes + ([("Next", outlook.next_step)] if outlook and outlook.next_step else [])


def trouble_notes(status: Status, outlook: Outlook | None, *, most: int) -> list[tuple[str, str]]:
    """Tiers that stopped, and what went wrong, the most frequent first; a few lines."""
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
