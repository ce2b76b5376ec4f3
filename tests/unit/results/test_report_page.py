"""What a report says and shows, made of a few figures: what no small job that runs in a test brings about."""

from __future__ import annotations

import colorsys
import re
from dataclasses import replace
from typing import Any

import pytest

from cascade_batch.results.report import Facts, Subject, canvas, render_page, words
from cascade_batch.results.report.candidates import Candidate, choose_examples
from cascade_batch.results.report.escalations import counts_text, directions_text
from cascade_batch.results.report.facts import Cause, Flow, TierFacts
from cascade_batch.results.report.summary import columns_of

TIER = TierFacts(
    name="small", model="m", calls=1_000, answers=1_000, cached=0, verdicts=0, escalated=0,
    refused_rows=0, lost_calls=0, input_tokens=1, output_tokens=1, spent_nanousd=10**7,
    latency_buckets=(0, 3, 1), stopped=None,
)  # fmt: skip


def facts(**more: Any) -> Facts:
    """A job of a thousand rows on two tiers; 300 rows were answered by both."""
    values: dict[str, Any] = {
        "tiers": (TIER, replace(TIER, name="large", spent_nanousd=9 * 10**7)),
        "flows": (
            Flow((0,), 0, 700, 10**7, None, None, None),
            Flow((0, 1), 1, 300, 10**7, True, None, None),
        ),
        "samples_nanousd": {},
        "verdicts_nanousd": {},
        "fair": {},
        "spending": (),
        "causes": (Cause(1, 0, "unsure", 300),),
        "examples": (),
        "gold_column": None,
        "failures": (),
        "refusals": (),
        "unfit": (),
        "released_calls": 0,
        "released_nanousd": 0,
        **more,
    }
    return Facts(**values)


def status(**more: Any) -> dict[str, Any]:
    money = ("reserved", "at_risk", "overrun", "saved")
    return {
        "name": "news",
        "status": "finished",
        "reason": None,
        "rows_unfit": 0,
        "rows": {"total": 1_000, "answered": 1_000, "failed": 0, "pending": 0},
        "tiers": {"small": {"escalated": 0}, "large": {"escalated": 300}},
        "spent_nanousd": 10**8,
        "budget_nanousd": 2 * 10**8,
        **{f"{what}_nanousd": 0 for what in money},
        "at_risk_calls": [],
        "quality": None,
        "labels": "agreement",
        "policy": "auto",
        "waves": 3,
        "started_at": None,
        "finished_at": None,
        **more,
    }


def page_text(facts: Facts, status: dict[str, Any]) -> str:
    page = render_page(Subject(status, None, None), facts)
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]).split())


def test_the_first_sentence_has_price_and_quality():
    text = page_text(facts(), status(quality=0.912, labels="check"))

    assert (
        "All 1,000 rows were answered for $0.1000 of a budget of $0.2000 ($0.1000 per 1,000 rows);"
        " 91.2 % of the answers are expected to be right."
        in text.replace("\N{NO-BREAK SPACE}", " ")
    )
    assert "expected to be right" not in page_text(facts(), status())


def test_money_at_risk_comes_with_the_command_that_may_release_it():
    lost = {"tier": "large", "reason": "timeout", "calls": 2, "worst_nanousd": 5_000_000}
    text = page_text(facts(), status(name="my news", at_risk_calls=[lost]))

    assert "cascade-batch reconcile &#39;my news&#39; --release --because &#34;invoice" in text
    assert "reconcile" not in page_text(facts(), status())


def test_numbers_that_differ_are_explained():
    moved = (Cause(1, 0, "unsure", 305), Cause(0, 1, "probe", 5))
    text = counts_text(facts(causes=moved))

    assert "300 rows have answers from more than one tier" in text
    assert "Rows were to be sent on to another tier 310 times" in text
    assert "10 of these brought no answer" in text
    assert counts_text(facts()) == (
        "300 rows have answers from more than one tier. Rows were sent on to another tier 300 times."
    )


def test_rows_that_got_no_answer_where_they_were_sent_are_accounted_for():
    moved = (Cause(1, 0, "unsure", 302),)
    refusing = replace(TIER, name="large", refused_rows=2)

    assert counts_text(facts(causes=moved, tiers=(TIER, refusing))).endswith(
        "2 of these brought no answer: refused by the tier."
    )
    assert "by the money that was left" in counts_text(facts(causes=moved))


def test_charts_are_there_wide_and_narrow_and_share_no_names():
    page = render_page(Subject(status(), None, None), facts())

    charts = re.findall(r'<svg[^>]* class="(wide|narrow)"', page)
    assert charts.count("wide") == charts.count("narrow") >= 4
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(names)) == len(names)


def test_why_the_quality_is_beside_its_curve_is_said_where_both_are_shown():
    points = [
        {"budget_usd": usd, "quality": 0.9, "low": 0.8, "high": 1.0, "supported": True}
        for usd in (0.1, 0.2)
    ]
    frontier = {"points": points, "measured": True, "budget_usd": 0.2}
    said = "so that the two may differ a little"

    assert said in render_page(
        Subject(status(quality=0.91, labels="gold"), frontier, None), facts()
    )
    assert said not in render_page(
        Subject(status(), {**frontier, "measured": False}, None), facts()
    )


def test_a_command_in_the_reason_of_a_pause_is_code_and_nothing_else_is_markup():
    paused = status(status="paused", reason="by <me>; `cascade-batch resume news` goes on")

    page = render_page(Subject(paused, None, None), facts())
    assert "by &lt;me&gt;; <code>cascade-batch resume news</code> goes on" in page


def test_why_rows_went_up_or_down():
    moved = facts(
        causes=(
            Cause(1, 0, "unsure", 300),
            Cause(0, 1, "sure", 20),
            Cause(0, 1, "probe", 5),
            Cause(1, 0, "probe", 1),
        )
    )
    text = directions_text(moved, "auto", "gold")

    assert "300 times a dearer tier was asked" in text
    assert "20 times a cheaper tier was asked, for a second opinion" in text
    assert "6 times a tier was asked only to compare the tiers" in text
    assert "second opinion" not in directions_text(moved, "auto", "check")
    assert "expected" not in directions_text(moved, "every", "gold")


def test_examples_are_a_mix_of_reasons_and_tiers():
    alike = [Candidate(n, 2, 0, "unsure", 0.9 - n / 1_000, True, None) for n in range(50)]
    rare = [
        Candidate(100, 1, 0, "sure", 0.01, False, None),
        Candidate(101, 0, 2, "probe", 0.0, False, None),
        Candidate(102, 1, 2, "cut_off", 0.5, True, None),
        Candidate(102, 0, 1, "sure", 0.4, True, None),
    ]
    chosen = choose_examples([*alike, *rare], 5)

    assert {one.cause for one in chosen} == {"unsure", "sure", "probe", "cut_off"}
    assert len({one.row_no for one in chosen}) == len(chosen) == 5
    assert choose_examples(rare[:1], 5) == rare[:1]


def test_an_example_that_somebody_judged_comes_before_one_that_nobody_did():
    known = Candidate(1, 1, 0, "unsure", 0.1, True, True)
    unknown = Candidate(2, 1, 0, "unsure", 0.9, True, None)

    assert choose_examples([unknown, known], 1) == [known]


@pytest.mark.parametrize("tiers", [1, 2, 3, 5, 8])
def test_a_tier_has_one_hue_by_day_and_in_the_dark(tiers):
    for light, dark in canvas.tier_colours(tiers):
        hue_by_day, hue_in_the_dark = _hue(light), _hue(dark)

        assert hue_by_day == pytest.approx(hue_in_the_dark, abs=0.02)


def _hue(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return colorsys.rgb_to_hls(red, green, blue)[0]


@pytest.mark.parametrize(
    ("amount", "step", "text"),
    [
        (0, None, "$0"),
        (0.00008, None, "$0.00008"),
        (0.000004, 0.000002, "$0.000004"),
        (0.004, 0.0008, "$0.0040"),
        (0.1, None, "$0.10"),
        (0.1, 0.05, "$0.10"),
        (2, None, "$2"),
        (2, 0.5, "$2.00"),
        (20_000, 5_000, "$20,000"),
    ],
)
def test_money_at_an_axis_is_written_out(amount, step, text):
    assert words.usd_tick(amount, step) == text


@pytest.mark.parametrize("shown", range(2, 12))
def test_no_figure_stands_alone_on_a_line(shown):
    columns = columns_of(shown)

    assert shown <= columns or shown % columns != 1
