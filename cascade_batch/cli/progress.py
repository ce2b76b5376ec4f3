"""Following a job: a live display on a terminal, a plain line now and then elsewhere.

Both go to standard error. A plain line is for logs: no control codes, and fewer of them the longer it takes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from cascade_batch.cli.frame import printable, say
from cascade_batch.cli.money import money_parts
from cascade_batch.cli.picture import (
    Page,
    draw,
    next_notes,
    reason_notes,
    trouble_notes,
    trouble_text,
)
from cascade_batch.client.looking import Sight, is_over, pauses_s
from cascade_batch.client.pace import Pace, Status, left_text, phase_text, rate_text
from cascade_batch.client.progress import rest_text, unfit_text
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY_S = 5.0
PLAIN_SHARE = 20
PLAIN_AT_LEAST_EVERY_S = 300.0
"""Lines are at first `PLAIN_EVERY_S` apart, later a twentieth of the time that has passed, at most this."""
PLAIN_LOOK_S = 2.0
"""How often it is looked for workers that give no sign of life, where nothing else calls for a look."""
PATIENCE_S = 1.0
_ERRORS_SHOWN = 3
_KINDS_TOLD = 20
"""Kinds of errors that a log is told of: who has more of them looks at `status`."""


def follow(
    fetch: Callable[[], Sight],
    *,
    is_unchanged: Callable[[Status], bool] = lambda _: False,
    console: Console | None = None,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Status:
    """Show a job until it is over.

    Args:
        fetch: Looks at the job.
        is_unchanged: Whether the job is still in the same state, for the same reason, and met no more errors;
            costs less than a look.
        console: Where to draw; None: standard error, if it is a terminal that can redraw.
        wait: Waits for some seconds between two looks.
        clock: Seconds from a fixed point, for rates.

    Returns:
        The last status.
    """
    if console is None and not redraws():
        return _follow_plainly(fetch, is_unchanged, wait, clock)
    from rich.console import Console
    from rich.live import Live

    console = console or Console(stderr=True, highlight=False, markup=False)
    pace = Pace()
    sight = fetch()
    pace.note(sight.status, clock())
    with Live(
        moving(sight, pace, console), console=console, auto_refresh=False, transient=False
    ) as live:
        pauses = pauses_s()
        while not is_over(sight.status):
            wait(next(pauses))
            sight = fetch()
            pace.note(sight.status, clock())
            live.update(moving(sight, pace, console), refresh=True)
        live.refresh()
    return sight.status


@contextmanager
def waiting(
    words: str,
    *,
    count: Callable[[], int] | None = None,
    console: Console | None = None,
    after_s: float = PATIENCE_S,
    plain_every_s: float = PLAIN_EVERY_S,
) -> Iterator[None]:
    """Tell for how long something takes that may take long, such as reading a large file.

    Elsewhere than on a terminal, a plain line now and then says how much is done, if that is counted.

    Args:
        words: What is done; shown after `after_s` seconds, and removed at the end of the block.
        count: How much of it is done, shown behind the words.
        console: Where to draw; None: standard error, if it is a terminal that can redraw.
        after_s: What takes less time passes without a word.
        plain_every_s: How far plain lines are apart at first.
    """
    if console is None and not redraws():
        with nullcontext() if count is None else _counting_plainly(words, count, plain_every_s):
            yield
        return
    from threading import Timer

    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task, TimeElapsedColumn
    from rich.text import Text
    from rich.theme import Theme

    class Words(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(task.description if count is None else f"{task.description}: {count():,}")

    shown = Progress(
        Words(),
        TimeElapsedColumn(),
        console=console or Console(stderr=True, theme=Theme({"progress.elapsed": "default"})),
        refresh_per_second=2,
        transient=True,
    )
    shown.add_task(printable(words))
    timer = Timer(after_s, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


@contextmanager
def _counting_plainly(words: str, count: Callable[[], int], every_s: float) -> Iterator[None]:
    from threading import Event, Thread

    ended = Event()
    began_s = time.monotonic()

    def tell() -> None:
        gap_s = every_s
        while not ended.wait(gap_s):
            say(f"{words}: {count():,} so far")
            gap_s = _gap_s(time.monotonic() - began_s, every_s)

    telling = Thread(target=tell, daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()


def _gap_s(passed_s: float, every_s: float = PLAIN_EVERY_S) -> float:
    """How far plain lines are apart after so long."""
    return min(max(passed_s / PLAIN_SHARE, every_s), PLAIN_AT_LEAST_EVERY_S)


def redraws() -> bool:
    """Whether standard error is a terminal where lines can be drawn over, with somebody before it."""
    # A build server may offer a terminal, but keeps a log of all that was written to it.
    return (
        sys.stderr.isatty()
        and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
        and os.environ.get("CI", "").lower() in ("", "0", "false")
    )


def _follow_plainly(
    fetch: Callable[[], Sight],
    is_unchanged: Callable[[Status], bool],
    wait: Callable[[float], object],
    clock: Callable[[], float],
) -> Status:
    pace = Pace()
    told: set[tuple[str, str, str]] = set()
    began_s = clock()
    said_at: float | None = None
    said_state = said_reason = None
    was_silent = False
    pauses = pauses_s()
    while True:
        status, outlook = fetch()
        now_s = clock()
        pace.note(status, now_s)
        gap_s = _gap_s(now_s - began_s)
        for one in outlook.troubles if outlook else ():
            key = (one.tier, one.what, one.kind)
            if key not in told and len(told) < _KINDS_TOLD:
                told.add(key)
                say(f"{status['name']}: {trouble_text(one)}")
        for silent in outlook.silent if outlook and not was_silent else ():
            say(f"{status['name']}: {silent}")
        was_silent = bool(outlook and outlook.silent)
        if status["reason"] and status["reason"] != said_reason and not is_over(status):
            say(f"{status['name']}: {status['reason']}")
        said_reason = status["reason"]
        if said_at is None or status["status"] != said_state or now_s - said_at >= gap_s:
            said_at, said_state = now_s, status["status"]
            say(plain_line(Sight(status, outlook), pace))
        if is_over(status):
            return status
        # Nobody sees more than the lines: a look for each of them is enough.
        until_s = min(said_at + gap_s, now_s + PLAIN_LOOK_S)
        wait(next(pauses))
        while clock() < until_s and is_unchanged(status):
            wait(next(pauses))


def plain_line(sight: Sight, pace: Pace) -> str:
    """The whole status in one line."""
    status, outlook = sight
    rows, money = status["rows"], money_parts(status)
    parts = [f"{status['name']}: {status['status']}"]
    failed = f", {rows['failed']:,} failed" if rows["failed"] else ""
    parts.append(f"{rows['answered']:,} of {rows['total']:,} rows answered{failed}")
    phase = phase_text(status, outlook)
    parts += [phase.rpartition("; ")[2]] if phase else []
    parts.append(f"{format_usd(money['spent'])} of {format_usd(status['budget_nanousd'])} spent")
    parts += [f"{format_usd(money[k])} {k}" for k in ("reserved", "at risk", "overrun") if money[k]]
    if is_over(status):
        if status.get("rows_unfit"):
            parts.append(unfit_text(status["rows_unfit"]))
        if status.get("quality") is not None:
            parts.append(f"quality {status['quality']:.3f}")
        parts += [rest] if (rest := rest_text(status)) else []
    elif status["status"] != JobState.PAUSED:
        parts += _rates(pace)
        parts.append(left_text(status, outlook, pace))
    return "; ".join(parts)


def moving(sight: Sight, pace: Pace, console: Console) -> RenderableType:
    """The live display at one moment."""
    from rich.console import Group
    from rich.text import Text

    status, outlook = sight
    facts: list[str] = []
    notes = reason_notes(status)
    if is_over(status):
        if status.get("quality") is not None:
            facts.append(f"quality {status['quality']:.3f}")
        if status.get("rows_unfit"):
            notes.append(("Unfit", unfit_text(status["rows_unfit"])))
        if status.get("saved_nanousd"):
            facts.append(f"saved {format_usd(status['saved_nanousd'])}")
    elif status["status"] == JobState.PAUSED:
        facts.append("calls in flight settle, nothing new is sent")
    else:
        phase = phase_text(status, outlook)
        facts += [*([phase] if phase else []), *_rates(pace), left_text(status, outlook, pace)]
        if status["waves"]:
            facts.append(f"wave {status['waves']}")
        notes += next_notes(status, outlook)
    notes += trouble_notes(status, outlook, most=_ERRORS_SHOWN)
    # The cursor rests on a line of its own: what a terminal echoes there (^C) moves nothing. What will not be
    # drawn over may be higher than the terminal.
    height = None if is_over(status) else console.height - 1
    page = Page.of(console, one_line=True, height=height)
    picture = draw(status, outlook, page, facts=facts, notes=notes)
    return Group(picture, Text())


def _rates(pace: Pace) -> list[str]:
    rates = [f"{rate_text(pace.rows_per_s)} rows/s"] if pace.rows_per_s else []
    # Calls are another number where rows fail, are asked again or on several tiers.
    if pace.calls_per_s and rate_text(pace.calls_per_s) != rate_text(pace.rows_per_s):
        rates.append(f"{rate_text(pace.calls_per_s)} calls/s")
    return rates
