"""Following a job: a live display on a terminal, a plain line every few seconds elsewhere.

Both are drawn from the object that `status JOB --json` prints and go to standard error.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from cascade_batch.cli.frame import printable, say
from cascade_batch.cli.output import latency_text
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd, usd_to_nanousd

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Status = Mapping[str, Any]

REDRAW_EVERY_S = 0.5
FIRST_LOOKS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Waits between the first looks: a small job is over before half a second has passed."""
PLAIN_EVERY_S = 5.0
RATE_WINDOW_S = 30.0

_OVER = frozenset({JobState.FINISHED, JobState.CANCELLED, JobState.FAILED})
_ROW_COLOURS = {"answered": "green", "failed": "red", "pending": "bright_black"}
_MONEY_COLOURS = {"spent": "green", "at risk": "red", "reserved": "yellow", "free": "bright_black"}


def is_over(status: Status) -> bool:
    """Whether nothing more will happen to the job by itself."""
    return status["status"] in _OVER


def follow(
    fetch: Callable[[], Status],
    *,
    console: Console | None = None,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Status:
    """Show a job until it is over.

    Args:
        fetch: Gives the job's status, as `status JOB --json` prints it.
        console: Where to draw; None: standard error.
        wait: Waits for some seconds between two looks.
        clock: Seconds from a fixed point, for rates.

    Returns:
        The last status.
    """
    if console is None and not sys.stderr.isatty():
        return _follow_plainly(fetch, wait, clock)
    from rich.console import Console
    from rich.live import Live

    console = console or Console(stderr=True)
    if not console.is_terminal:
        return _follow_plainly(fetch, wait, clock)
    pace = Pace()
    status = fetch()
    pace.note(status, clock())
    with Live(
        draw(status, pace, console), console=console, auto_refresh=False, transient=False
    ) as live:
        pauses_s = _pauses_s()
        while not is_over(status):
            wait(next(pauses_s))
            status = fetch()
            pace.note(status, clock())
            live.update(draw(status, pace, console), refresh=True)
        live.refresh()
    return status


def _follow_plainly(
    fetch: Callable[[], Status], wait: Callable[[float], object], clock: Callable[[], float]
) -> Status:
    pace = Pace()
    status = fetch()
    pace.note(status, clock())
    said_at = clock()
    say(plain_line(status, pace))
    pauses_s = _pauses_s()
    while not is_over(status):
        wait(next(pauses_s))
        status = fetch()
        now = clock()
        pace.note(status, now)
        if is_over(status) or now - said_at >= PLAIN_EVERY_S:
            said_at = now
            say(plain_line(status, pace))
    return status


def _pauses_s() -> Iterator[float]:
    return chain(FIRST_LOOKS_S, repeat(REDRAW_EVERY_S))


@dataclass(slots=True)
class Pace:
    """How fast a job goes, from what was seen of it in the last half minute."""

    seen: deque[tuple[float, int, int]] = field(default_factory=deque)
    """(time in seconds, rows done, nano-dollars spent)"""

    def note(self, status: Status, now_s: float) -> None:
        """Take note of a status."""
        rows = status["rows"]
        self.seen.append(
            (now_s, rows["answered"] + rows["failed"], usd_to_nanousd(status["spent_usd"]))
        )
        while len(self.seen) > 2 and now_s - self.seen[0][0] > RATE_WINDOW_S:
            self.seen.popleft()

    def _per_s(self, column: int) -> float:
        if len(self.seen) < 2:
            return 0.0
        first, last = self.seen[0], self.seen[-1]
        passed_s = last[0] - first[0]
        return max(last[column] - first[column], 0) / passed_s if passed_s > 0 else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows that got an answer (or failed), per second."""
        return self._per_s(1)

    @property
    def nanousd_per_s(self) -> float:
        """Money spent per second."""
        return self._per_s(2)

    def left(self, status: Status) -> str | None:
        """How long the job may still take, in words; None if nothing can be said."""
        pending = status["rows"]["pending"]
        if pending and self.rows_per_s:
            return f"about {format_duration(pending / self.rows_per_s)} for the rows"
        if not pending and self.nanousd_per_s:
            money = _money(status)
            rest = money["free"] + money["reserved"]
            return f"at most {format_duration(rest / self.nanousd_per_s)}"
        return None


def format_duration(seconds: float) -> str:
    """`8 s`, `4 min`, `2 h 05 min`, `3 d`: as exact as a guess deserves."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{round(hours / 24)} d"


def plain_line(status: Status, pace: Pace) -> str:
    """The whole status in one line."""
    rows, money = status["rows"], _money(status)
    parts = [f"{status['name']}: {status['status']}"]
    failed = f", {rows['failed']:,} failed" if rows["failed"] else ""
    parts.append(f"{rows['answered']:,} of {rows['total']:,} rows answered{failed}")
    budget = format_usd(usd_to_nanousd(status["budget_usd"]))
    parts.append(f"{format_usd(money['spent'])} of {budget} spent")
    parts += [f"{format_usd(money[k])} {k}" for k in ("reserved", "at risk", "overrun") if money[k]]
    if not is_over(status):
        if rows["pending"] and pace.rows_per_s:
            parts.append(f"{pace.rows_per_s:,.0f} rows/s")
        left = pace.left(status)
        if left:
            parts.append(f"{left} left")
    elif status.get("quality") is not None:
        parts.append(f"quality {status['quality']:.3f}")
    return "; ".join(parts)


def draw(status: Status, pace: Pace, console: Console) -> RenderableType:
    """The display: a bar of rows, a bar of money, a line per tier."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows, money = status["rows"], _money(status)
    block = "━" if console.encoding.startswith("utf") else "="
    width = max(min(console.width - 12, 72), 10)
    head = Text(printable(status["name"]), style="bold")
    head.append(f"  {status['status']}", style="not bold")
    left = None if is_over(status) else pace.left(status)
    if not is_over(status):
        if rows["pending"] and pace.rows_per_s:
            head.append(f"  {pace.rows_per_s:,.0f} rows/s", style="not bold")
        head.append(f"  {left} left" if left else "", style="not bold")
    if status.get("quality") is not None:
        head.append(f"  quality {status['quality']:.3f}", style="not bold")

    bars = Table.grid(padding=(0, 1))
    for name, values, colours in (
        ("Rows", {k: rows[k] for k in _ROW_COLOURS}, _ROW_COLOURS),
        ("Money", {k: money[k] for k in _MONEY_COLOURS}, _MONEY_COLOURS),
    ):
        bars.add_row(name, _bar(list(values.values()), list(colours.values()), width, block))
        legend = Text()
        for key, value in values.items():
            if value or key in ("answered", "spent"):
                shown = f"{value:,}" if name == "Rows" else format_usd(value)
                legend.append(f"{shown} {key}  ", style=colours[key])
        if name == "Money" and money["overrun"]:
            legend.append(f"{format_usd(money['overrun'])} billed beyond it", style="bold red")
        bars.add_row("", legend)
    return Group(head, bars, _tiers(status["tiers"]))


def _tiers(tiers: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("Tier")
    for title in ("calls", "answers", "escalated to", "spent", "p50", "p95"):
        table.add_column(title, justify="right")
    for name, tier in tiers.items():
        table.add_row(
            Text(name),
            f"{tier['calls']:,}",
            f"{tier['answers']:,}",
            f"{tier['escalated']:,}",
            format_usd(usd_to_nanousd(tier["spent_usd"])),
            latency_text(tier.get("latency_ms_p50")),
            latency_text(tier.get("latency_ms_p95")),
        )
    return table


def _money(status: Status) -> dict[str, int]:
    spent, reserved, at_risk, overrun, budget = (
        usd_to_nanousd(status[f"{key}_usd"])
        for key in ("spent", "reserved", "at_risk", "overrun", "budget")
    )
    free = max(budget - spent - reserved - at_risk - overrun, 0)
    return {
        "spent": spent,
        "at risk": at_risk,
        "reserved": reserved,
        "free": free,
        "overrun": overrun,
    }


def _bar(values: Sequence[int], colours: Sequence[str], width: int, block: str) -> Text:
    from rich.text import Text

    text = Text()
    for cells, colour in zip(share_cells(values, width), colours, strict=True):
        text.append(block * cells, style=colour)
    return text


def share_cells(values: Sequence[int], width: int) -> list[int]:
    """Share a bar's cells out: in proportion, and at least one for whatever is not nothing.

    All of the cells are given out unless all values are 0.
    """
    total = sum(values)
    if total == 0:
        return [0] * len(values)
    cells = [max(v * width // total, 1) if v else 0 for v in values]
    largest = max(range(len(values)), key=lambda i: values[i])
    cells[largest] += width - sum(cells)
    return cells
