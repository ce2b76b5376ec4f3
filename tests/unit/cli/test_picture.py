"""What is drawn of a job: complete, within the width, and legible without colours."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cascade_batch.cli.bars import share_cells
from cascade_batch.cli.money import money_parts
from cascade_batch.cli.picture import Page, draw, trouble_notes
from cascade_batch.cli.progress import Sight, moving, plain_line
from cascade_batch.client.pace import Pace
from cascade_batch.engine.outlook import group_troubles

from .jobs import REFUSED, outlook, status, tier


def drawn(shown: dict[str, Any], *, width: int = 80, unicode: bool = True, **more: Any) -> str:
    console = Console(file=StringIO(), width=width, color_system=None, markup=False)
    with console.capture() as captured:
        console.print(
            draw(shown, more.pop("ahead", None), Page(width, unicode, one_line=True), **more)
        )
    return captured.get()


BUSY = status(answered=400, reserved=2.5, at_risk=0.25, overrun=0.125)


def test_rows_money_and_tiers_are_told_in_words():
    shown = drawn(BUSY, width=120, ahead=outlook(small=600, in_flight=50))

    assert "news  running" in shown
    assert "400 answered" in shown
    assert "600 pending" in shown
    assert "failed" not in shown
    for money in ("$0.4000 spent", "$2.50 reserved", "$0.2500 at risk", "$6.72 free"):
        assert money in shown
    assert "$0.1250 billed beyond the declared worst case" in shown
    small = next(line for line in shown.splitlines() if line.startswith("small"))
    assert small.split()[-9:] == ["400", "400", "600", "0", "$0.4000", "210", "ms", "12.3", "s"]


def line_of(shown: str, name: str) -> str:
    return next(line for line in shown.splitlines() if line.startswith(name))


@pytest.mark.parametrize("unicode", [True, False])
def test_the_parts_of_the_money_are_told_apart_without_colour_and_fill_the_bar(unicode):
    shown = drawn(status(answered=400, spent=4, reserved=2, at_risk=1), unicode=unicode)
    bar = line_of(shown, "Money").split()[1]
    legend = shown.splitlines()[shown.splitlines().index(line_of(shown, "Money")) + 1].split()

    marks = list(dict.fromkeys(bar))
    counts = [bar.count(mark) for mark in marks]
    assert len(marks) == 4
    assert all(mark in legend for mark in marks)
    assert [round(10 * count / len(bar)) for count in counts] == [4, 1, 2, 3]
    assert shown.isascii() is not unicode


MONEY = st.integers(0, 10**15)


@given(spent=MONEY, reserved=MONEY, at_risk=MONEY, free=MONEY, overrun=MONEY)
def test_the_parts_of_the_money_sum_to_the_budget(spent, reserved, at_risk, free, overrun):
    held = {
        "spent_nanousd": spent,
        "reserved_nanousd": reserved,
        "at_risk_nanousd": at_risk,
        "overrun_nanousd": overrun,
    }
    budget = spent + reserved + at_risk + overrun + free

    parts = money_parts({**held, "budget_nanousd": budget})

    assert sum(parts.values()) == budget
    assert parts["free"] == free


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_longer_than_the_terminal_is_wide(width, unicode):
    busy = status(
        answered=400, reserved=2.5, at_risk=0.25, name="a-name-of-some-length-" * 3,
        tiers={"a-rather-long-name-of-a-tier": tier(1_234_567, 12_345.67), "large": tier(3, 0.01)},
    )  # fmt: skip

    shown = drawn(
        busy,
        width=width,
        unicode=unicode,
        ahead=outlook(small=600),
        facts=["1,234 rows/s", "about 4 min left for what is planned"],
        notes=[("Errors", "a long story " * 20)],
    )

    assert max(map(cell_len, shown.splitlines())) <= width
    assert "$0.4000 spent" in " ".join(shown.split())
    assert shown.isascii() or unicode


def test_a_narrow_terminal_shows_what_matters_most():
    titles = {
        width: line_of(drawn(BUSY, width=width, ahead=outlook(small=600)), "Tier").split()
        for width in (40, 60, 80, 120)
    }

    assert titles[40] == ["Tier", "answers", "spent"]
    assert titles[60] == ["Tier", "answers", "to", "come", "spent", "p50"]
    assert " ".join(titles[120][1:]) == "calls answers to come escalated to spent p50 p95"
    assert [len(titles[width]) for width in titles] == sorted(
        len(titles[width]) for width in titles
    )


def test_the_length_of_a_tiers_bar_is_its_part_of_the_job():
    shown = drawn(
        status(answered=1000, large=250), width=120, ahead=outlook(large=250, in_flight=0)
    )

    small, large = line_of(shown, "small"), line_of(shown, "large")
    assert large.count("█") == pytest.approx(small.count("█") / 4, abs=1)
    assert large.count("░") == pytest.approx(small.count("█") / 4, abs=1)


def test_a_name_cannot_drive_the_terminal():
    assert "\x1b" not in drawn(status(name="a\x1b[31mb[bold]c"))
    assert "[bold]" in drawn(status(name="a[bold]c"))


def live(sight: Sight, width: int = 80, height: int = 24) -> str:
    console = Console(
        file=StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    with console.capture() as captured:
        console.print(moving(sight, Pace(), console))
    return captured.get()


def test_the_live_display_tells_what_comes_next_and_what_went_wrong():
    shown = live(Sight(status(answered=100), outlook(small=900, troubles=(REFUSED,))))

    assert "time left unknown" in shown
    assert "Next    wave 3 is planned when 4 more chunks are done" in shown
    assert "Errors  3 refused by small: HTTP 400: row 17" in shown


def test_a_job_that_stands_still_says_why():
    still = {"idle_s": 75.2, "reasons": ["2 chunks wait for a worker of tier small"]}

    shown = live(Sight(status(answered=100, standstill=still), outlook(small=900)))

    assert "Still   for 75 s: 2 chunks wait for a worker of tier small" in shown


def test_a_tier_that_was_stopped_is_told_with_its_reason():
    tiers = {"small": tier(5, 0.1, stopped="the key is not accepted")}

    assert "small is stopped: the key is not accepted" in live(Sight(status(tiers=tiers)))


def test_it_fits_an_ordinary_terminal():
    troubles = (REFUSED,) * 5
    tiers = {name: tier(10, 0.1) for name in ("one", "two", "three", "four")}

    shown = live(Sight(status(answered=100, tiers=tiers), outlook(small=900, troubles=troubles)))

    assert len(shown.splitlines()) <= 24
    assert "and 3 more kinds" in shown


@pytest.mark.parametrize("height", [5, 7, 10, 14, 24])
def test_a_low_terminal_keeps_the_name_and_the_money(height):
    troubles = (REFUSED,) * 5
    tiers = {name: tier(10, 0.1) for name in ("one", "two", "three", "four")}
    sight = Sight(status(answered=100, tiers=tiers), outlook(small=900, troubles=troubles))

    shown = live(sight, height=height)

    assert len(shown.splitlines()) <= height
    assert "news  running" in shown
    assert line_of(shown, "Money").endswith("of $10.00")
    assert "$0.1000 spent" in shown
    if height >= 7:
        assert line_of(shown, "Rows").endswith("10 %")
    if height >= 14:
        assert all(line_of(shown, name) for name in tiers)


def test_what_moves_no_more_is_whole_on_a_low_terminal():
    shown = live(Sight(status("finished", 1000, reason="enough"), outlook()), height=8)

    assert "Left    $9.00 is left: enough" in shown
    assert "Tier" in shown


def test_rows_of_a_data_set_that_is_still_read_are_not_called_all():
    sight = Sight(status(answered=1000), replace(outlook(), reading=True))

    line = plain_line(sight, Pace())

    assert "; more rows are being read; " in line
    assert "better answers" not in line
    assert "of 1,000 so far" in live(sight)


def test_a_job_whose_rows_are_answered_says_why_it_goes_on():
    at_work = Sight(status(answered=1000), outlook(large=200, in_flight=0))

    assert "all rows answered; better answers are being bought" in live(at_work, width=120)
    assert "better answers are being bought" in plain_line(at_work, Pace())
    planned = plain_line(Sight(status(answered=1000), outlook()), Pace())
    assert "the planner decides whether to buy better answers" in planned
    read = plain_line(Sight(status(answered=1000, reading=True), outlook()), Pace())
    assert "its data set is being read" in read
    for others in (
        Sight(status(answered=1000, reading=True), outlook()),
        Sight(status(answered=999), outlook(small=1)),
        Sight(status("finished", 1000), outlook()),
    ):
        assert "better answers" not in live(others) + plain_line(others, Pace())


def test_rows_that_wait_for_the_answer_of_another_one_do_not_hide_it():
    sight = Sight(status(answered=900, rows_duplicate=100), outlook(large=5))

    assert "better answers are being bought" in plain_line(sight, Pace())
    assert "all rows asked; better answers are being bought" in live(sight, width=120)


def test_the_most_frequent_errors_are_told_first_and_none_is_left_out():
    counts = {"a": 1, "b": 7, "c": 2, "d": 3, "e": 4, "f": 5, "g": 9, "h": 6}
    found = [
        {"tier": "small", "what": "refused", "message": message, "ago_s": 0.0}
        for message, count in counts.items()
        for _ in range(count)
    ]

    notes = trouble_notes(status(), outlook(troubles=group_troubles(found)), most=4)

    assert [text.split(" ")[0] for _, text in notes] == ["9", "7", "6", "and"]
    assert notes[-1][1] == "and 5 more kinds"


def test_errors_that_differ_in_numbers_only_are_one_kind():
    messages = ["row 12: bad", "row 7: bad", "row 3: worse"]
    found = [
        {"tier": "small", "what": "refused", "message": message, "ago_s": float(ago)}
        for ago, message in enumerate(messages)
    ]

    groups = group_troubles(found)

    assert [(one.message, one.count, one.ago_s) for one in groups] == [
        ("row 12: bad", 2, 0.0),
        ("row 3: worse", 1, 2.0),
    ]


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=5), st.integers(10, 200))
def test_a_bar_is_full_and_shows_whatever_is_not_nothing(values, width):
    cells = share_cells(values, width)

    assert sum(cells) == (width if any(values) else 0)
    assert all((cell > 0) == (value > 0) for cell, value in zip(cells, values, strict=True))
