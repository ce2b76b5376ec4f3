"""Following a job: what is shown on a terminal and elsewhere."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cascade_batch.cli.following import exit_code
from cascade_batch.cli.progress import (
    Pace,
    draw,
    follow,
    format_duration,
    plain_line,
    share_cells,
)


def status(state: str = "running", answered: int = 0, **changes: Any) -> dict[str, Any]:
    """As `status JOB --json` prints it."""
    given = {
        "name": "news",
        "status": state,
        "reason": None,
        "budget_usd": 10.0,
        "spent_usd": answered / 1000,
        "reserved_usd": 0.0,
        "at_risk_usd": 0.0,
        "overrun_usd": 0.0,
        "rows": {
            "total": 1000,
            "answered": answered,
            "failed": 0,
            "pending": 1000 - answered,
            "unfunded": 0,
        },
        "quality": None,
        "tiers": {
            "small": {
                "calls": answered,
                "answers": answered,
                "escalated": 0,
                "spent_usd": answered / 1000,
                "latency_ms_p50": 210.4,
                "latency_ms_p95": 12_345.0,
            },
            "large": {
                "calls": 0,
                "answers": 0,
                "escalated": 0,
                "spent_usd": 0.0,
                "latency_ms_p50": None,
                "latency_ms_p95": None,
            },
        },
    }
    return given | changes


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def test_plain_lines_come_every_few_seconds_and_at_the_end(capsys):
    clock = Clock()

    def fetch() -> dict[str, Any]:
        answered = round(clock.now_s * 100)
        return (
            status(answered=answered) if answered < 1000 else status("finished", 1000, quality=0.9)
        )

    last = follow(fetch, wait=clock.wait, clock=clock)

    lines = capsys.readouterr().err.splitlines()
    assert last["status"] == "finished"
    assert lines[0] == "news: running; 0 of 1,000 rows answered; $0.00 of $10.00 spent"
    assert lines[1] == (
        "news: running; 520 of 1,000 rows answered; $0.5200 of $10.00 spent;"
        " 100 rows/s; about 5 s for the rows left"
    )
    assert lines[-1] == (
        "news: finished; 1,000 of 1,000 rows answered; $1.00 of $10.00 spent; quality 0.900"
    )
    assert len(lines) == 3


def test_the_end_of_a_small_job_is_seen_at_once():
    clock = Clock()

    follow(
        lambda: status("finished" if clock.now_s > 0.2 else "running"),
        wait=clock.wait,
        clock=clock,
    )

    assert clock.now_s < 0.4


def test_nothing_is_printed_on_standard_output(capsys):
    follow(lambda: status("finished", 1000))

    assert capsys.readouterr().out == ""


def test_a_paused_job_is_followed_on(capsys):
    clock = Clock()
    states = iter([status("paused"), status("paused"), status("running"), status("cancelled")])

    assert follow(lambda: next(states), wait=clock.wait, clock=clock)["status"] == "cancelled"


def rendered(shown: dict[str, Any], *, width: int = 100, pace: Pace | None = None) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(draw(shown, pace or Pace(), console))
    return captured.get()


def test_the_display_shows_rows_money_and_tiers():
    shown = rendered(
        status(answered=400, reserved_usd=2.5, at_risk_usd=0.25, overrun_usd=0.125, quality=0.75)
    )

    assert "news  running" in shown
    assert "quality 0.750" in shown
    assert "400 answered" in shown
    assert "600 pending" in shown
    assert "failed" not in shown
    for money in ("$0.4000 spent", "$2.50 reserved", "$0.2500 at risk", "$6.72 free"):
        assert money in shown
    assert "$0.1250 billed beyond it" in shown
    small = next(line for line in shown.splitlines() if line.startswith("small"))
    assert small.split() == ["small", "400", "400", "0", "$0.4000", "210", "ms", "12.3", "s"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_display_fits_the_terminal(width):
    shown = rendered(status(answered=1), width=width)

    assert max(map(len, shown.splitlines())) <= width


def test_a_name_cannot_drive_the_terminal():
    assert "\x1b" not in rendered(status(name="a\x1b[31mb[bold]c"))
    assert "[bold]" in rendered(status(name="a[bold]c"))


def test_the_live_display_ends_with_the_last_status():
    output = StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    clock = Clock()
    statuses = iter([status(), status(answered=500)])

    follow(
        lambda: next(statuses, status("finished", 1000)),
        console=console,
        wait=clock.wait,
        clock=clock,
    )

    assert "1,000 answered" in output.getvalue().split("news")[-1]


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=5), st.integers(10, 200))
def test_a_bar_is_full_and_shows_whatever_is_not_nothing(values, width):
    cells = share_cells(values, width)

    assert sum(cells) == (width if any(values) else 0)
    assert all((cell > 0) == (value > 0) for cell, value in zip(cells, values, strict=True))


def test_time_left_after_the_drafts_is_bounded_by_the_money():
    pace = Pace()
    pace.note(status(answered=1000, spent_usd=1.0), 0.0)
    pace.note(status(answered=1000, spent_usd=2.0), 10.0)

    assert pace.left(status(answered=1000, spent_usd=2.0)) == "at most 1 min"
    assert pace.rows_per_s == 0


def test_the_pace_is_that_of_the_last_half_minute():
    pace = Pace()
    for second in range(100):
        pace.note(status(answered=second if second < 50 else second * 10), float(second))

    assert pace.rows_per_s == pytest.approx(10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h 00 min"), (90_000, "25 h 00 min"),
     (400_000, "5 d")],
)  # fmt: skip
def test_durations_are_as_exact_as_a_guess_deserves(seconds, text):
    assert format_duration(seconds) == text


def test_a_failed_row_is_in_the_line():
    rows = {"total": 3, "answered": 1, "failed": 1, "pending": 1, "unfunded": 0}

    assert "1 of 3 rows answered, 1 failed" in plain_line(status(rows=rows), Pace())


ENDINGS = [
    ("finished", {"failed": 0, "unfunded": 0}, 0, ""),
    ("finished", {"failed": 2, "unfunded": 0}, 0, "cascade-batch errors 'my news'"),
    ("finished", {"failed": 2, "unfunded": 2}, 3, "cascade-batch budget 'my news' --add USD"),
    ("failed", {"failed": 0, "unfunded": 0}, 1, "'my news' is failed: no key"),
    ("cancelled", {"failed": 0, "unfunded": 0}, 1, "cascade-batch resume 'my news'"),
]


@pytest.mark.parametrize(("state", "rows", "code", "said"), ENDINGS)
def test_the_exit_code_says_how_it_ended(capsys, state, rows, code, said):
    counts = {"total": 5, "answered": 3, "pending": 0, **rows}

    assert exit_code(status(state, name="my news", reason="no key", rows=counts)) == code
    assert said in capsys.readouterr().err
