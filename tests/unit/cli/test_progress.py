"""Following a job: what is shown on a terminal and elsewhere."""

from __future__ import annotations

import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cascade_batch.cli.following import exit_code
from cascade_batch.cli.progress import Sight, follow, plain_line, waiting
from cascade_batch.client.pace import Pace, format_duration, left_text, left_words, rate_text

from .jobs import REFUSED, outlook, status


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def hundred_a_second(clock: Clock, rows: int = 1000) -> Any:
    """Looks at a job whose rows are answered at this speed."""

    def look() -> Sight:
        answered = round(clock.now_s * 100)
        if answered >= rows:
            return Sight(status("finished", rows, quality=0.9), outlook())
        return Sight(status(answered=answered), outlook(small=rows - answered))

    return look


def test_plain_lines_come_every_few_seconds_and_at_the_end(capsys):
    clock = Clock()

    last = follow(hundred_a_second(clock), wait=clock.wait, clock=clock)

    lines = capsys.readouterr().err.splitlines()
    assert last["status"] == "finished"
    assert lines[0] == (
        "news: running; 0 of 1,000 rows answered; $0.00 of $10.00 spent; time left unknown"
    )
    assert lines[1] == (
        "news: running; 520 of 1,000 rows answered; $0.5200 of $10.00 spent;"
        " 100 rows/s; a few seconds left for what is planned"
    )
    assert lines[-1] == (
        "news: finished; 1,000 of 1,000 rows answered; $1.00 of $10.00 spent; quality 0.900"
    )
    assert len(lines) == 3


def test_a_long_job_fills_no_log(capsys):
    clock = Clock()
    hours = 10

    def look() -> Sight:
        is_over = clock.now_s > hours * 3600
        return Sight(status("finished", 1000) if is_over else status(), outlook(small=1000))

    follow(look, wait=clock.wait, clock=clock)

    assert 100 < len(capsys.readouterr().err.splitlines()) < 300


def test_a_change_of_state_and_a_new_kind_of_error_are_told_at_once_and_once(capsys):
    clock = Clock()
    refused = outlook(small=900, troubles=(REFUSED,))
    sights = iter(
        [
            Sight(status(), outlook(small=1000)),
            Sight(status(answered=1), refused),
            Sight(status(answered=2), refused),
            Sight(status("paused", answered=2), refused),
            Sight(status("cancelled", answered=2), refused),
        ]
    )

    follow(lambda: next(sights), wait=clock.wait, clock=clock)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "news: running",
        "news: 3 refused by small: HTTP 400: row 17",
        "news: paused",
        "news: cancelled",
    ]


def test_glances_between_the_looks_miss_neither_lines_nor_the_end(capsys):
    clock = Clock()
    ends_s = 7.3

    def state() -> str:
        return "finished" if clock.now_s >= ends_s else "running"

    follow(
        lambda: Sight(status(state(), answered=round(clock.now_s * 100)), outlook(small=500)),
        is_unchanged=lambda seen: seen["status"] == state(),
        wait=clock.wait,
        clock=clock,
    )

    lines = capsys.readouterr().err.splitlines()
    assert clock.now_s <= ends_s + 0.5
    assert [line.split(";")[:2] for line in lines] == [
        ["news: running", " 0 of 1,000 rows answered"],
        ["news: running", " 520 of 1,000 rows answered"],
        ["news: finished", " 770 of 1,000 rows answered"],
    ]


def test_the_end_of_a_small_job_is_seen_at_once():
    clock = Clock()

    follow(
        lambda: Sight(status("finished" if clock.now_s > 0.2 else "running")),
        wait=clock.wait,
        clock=clock,
    )

    assert clock.now_s < 0.4


def test_nothing_is_printed_on_standard_output(capsys):
    follow(lambda: Sight(status("finished", 1000)))

    assert capsys.readouterr().out == ""


def test_the_live_display_ends_with_the_last_status():
    output = StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    clock = Clock()

    follow(hundred_a_second(clock), console=console, wait=clock.wait, clock=clock)

    last = output.getvalue().split("news")[-1]
    assert "1,000 answered" in last
    assert "quality 0.900" in last


@pytest.mark.parametrize(
    "environment",
    [{"TERM": "dumb"}, {"TERM": ""}, {"TERM": "xterm", "CI": "true"}],
    ids=["dumb", "none", "CI"],
)
def test_a_terminal_that_keeps_all_that_is_written_gets_plain_lines(
    monkeypatch, capsys, environment
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    follow(lambda: Sight(status("finished", 1000)))

    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said


def test_what_takes_long_is_told_for_as_long_as_it_takes():
    output = StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    deadline_s = time.monotonic() + 30

    with waiting("Reading [b]news[/b].jsonl", console=console, after_s=0):
        while "Reading [b]news[/b].jsonl 0:00:0" not in output.getvalue():
            assert time.monotonic() < deadline_s

    assert output.getvalue().endswith("\x1b[2K")


def test_what_takes_long_tells_how_much_of_it_is_done():
    output = StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    deadline_s = time.monotonic() + 30

    with waiting("Reading rows", count=lambda: 1234, console=console, after_s=0):
        while "Reading rows: 1,234 0:00:0" not in output.getvalue():
            assert time.monotonic() < deadline_s


def test_a_log_is_told_how_much_is_done_of_what_takes_long(capsys):
    deadline_s = time.monotonic() + 30
    said = ""

    with waiting("Reading rows", count=lambda: 1234, plain_every_s=0.01):
        while not said:
            said = capsys.readouterr().err
            assert time.monotonic() < deadline_s

    assert said.startswith("Reading rows: 1,234 so far\n")


def test_what_takes_no_time_passes_without_a_word(capsys):
    output = StringIO()

    with waiting("Reading", console=Console(file=output, force_terminal=True)), waiting("Reading"):
        pass

    assert output.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def paced(*looks: tuple[float, dict[str, Any]]) -> Pace:
    pace = Pace()
    for at_s, seen in looks:
        pace.note(seen, at_s)
    return pace


def test_the_time_left_is_unknown_until_enough_was_seen():
    ahead = outlook(small=500)
    first, second = status(answered=0), status(answered=500)

    assert left_text(first, ahead, paced((0.0, first))) == "time left unknown"
    assert left_text(second, ahead, paced((0.0, first), (1.0, second))) == "time left unknown"
    nine = status(answered=9)
    assert left_text(nine, ahead, paced((0.0, first), (60.0, nine))) == "time left unknown"
    known = paced((0.0, first), (10.0, second))
    assert left_text(second, ahead, known) == "about 10 s left for what is planned"


def test_the_slowest_tier_decides_how_much_time_is_left():
    before, after = status(answered=0), status(answered=1000, large=20)
    pace = paced((0.0, before), (10.0, after))

    assert pace.left_s(after, outlook(large=200)) == pytest.approx(100)
    assert pace.left_s(after, outlook(small=100, large=200)) == pytest.approx(100)


def test_the_time_left_moves_to_what_is_seen_by_and_by_and_runs_down_meanwhile():
    """A wave that ends, or a quick tier that is followed by a slow one, does not make it jump."""
    before, after = status(answered=0), status(answered=100)
    pace = paced((0.0, before), (10.0, after))
    assert pace.left_s(after, outlook(small=1000)) == pytest.approx(100)

    pace.note(status(answered=110), 11.0)
    soon = pace.left_s(status(answered=110), outlook(small=200))
    assert 70 < soon < 99
    # Asked again at the same moment, it says the same.
    assert pace.left_s(status(answered=110), outlook(small=200)) == soon

    for second in range(12, 60):
        seen = status(answered=second * 10)
        pace.note(seen, float(second))
        last = pace.left_s(seen, outlook(small=1000 - second * 10))
    assert last == pytest.approx(41, abs=3)


@pytest.mark.parametrize(
    ("left_s", "words"),
    [(0.3, "a few seconds"), (9.9, "a few seconds"), (10.0, "about 10 s"), (41.0, "about 50 s"),
     (52.0, "about 1 min"), (600.0, "about 10 min")],
)  # fmt: skip
def test_the_time_left_is_as_coarse_as_the_guess(left_s, words):
    assert left_words(left_s) == f"{words} left for what is planned"


def test_a_tier_with_work_that_nothing_is_known_of_makes_the_time_unknown():
    before, after = status(answered=0), status(answered=900)

    assert paced((0.0, before), (10.0, after)).left_s(after, outlook(small=10, large=1)) is None


def test_no_time_is_promised_where_nothing_has_moved_for_longer_than_that():
    before, after = status(answered=0), status(answered=900)
    ahead = outlook(small=100, in_flight=40)

    moving = paced((0.0, before), (10.0, after))
    assert left_text(after, ahead, moving) == "a few seconds left for what is planned"

    still = paced((0.0, before), (10.0, after), (25.0, after), (40.0, after))
    assert still.left_s(after, ahead) is None
    assert left_text(after, ahead, still) == "waits for 40 calls under way"


def test_the_last_calls_are_waited_for_and_not_foretold():
    before, after = status(answered=0), status(answered=999)
    pace = paced((0.0, before), (10.0, after))

    # The slowest of its calls took 12 s.
    assert left_text(after, outlook(small=1, in_flight=1), pace) == "waits for 1 call under way"
    later = outlook(small=1, large=0, in_flight=0)
    assert left_text(after, later, pace) == "a few seconds left for what is planned"


def test_rows_that_get_the_answer_of_another_one_take_no_time():
    before = status(answered=0, rows_duplicate=500)
    after = status(answered=100, rows_duplicate=500)

    assert paced((0.0, before), (10.0, after)).left_s(after, outlook()) == pytest.approx(40)


def test_rows_for_which_nothing_was_released_yet_are_ahead_as_well():
    before, after = status(answered=0), status(answered=100)

    assert paced((0.0, before), (10.0, after)).left_s(after, outlook(small=50)) == pytest.approx(90)


def test_the_pace_is_that_of_the_last_half_minute():
    looks = [(float(s), status(answered=s if s < 50 else s * 10)) for s in range(100)]

    assert paced(*looks).rows_per_s == pytest.approx(10)


@pytest.mark.parametrize(
    ("per_s", "text"), [(0.25, "0.2"), (9.9, "9.9"), (12.3, "12"), (4321, "4,321")]
)
def test_rates_are_as_exact_as_people_read_them(per_s, text):
    assert rate_text(per_s) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h 00 min"), (90_000, "25 h 00 min"),
     (400_000, "5 d")],
)  # fmt: skip
def test_durations_are_as_exact_as_a_guess_deserves(seconds, text):
    assert format_duration(seconds) == text


def test_a_failed_row_is_in_the_line():
    rows = {"total": 3, "answered": 1, "failed": 1, "pending": 1, "unfunded": 0}

    assert "1 of 3 rows answered, 1 failed" in plain_line(Sight(status(rows=rows)), Pace())


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
