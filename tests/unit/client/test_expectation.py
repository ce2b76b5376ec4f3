"""What a frontier says of more money, in words that hold for small jobs, too."""

from __future__ import annotations

from typing import Any

import pytest

from cascade_batch.client.expectation import added_money_text, next_money_text
from cascade_batch.domain.money import usd_to_nanousd


def frontier(*points: tuple[float, float], supported: int = 99, **more: Any) -> dict[str, Any]:
    """A frontier through these pairs of dollars and quality, the first `supported` of them with support."""
    return {
        "measured": True,
        "rows": 1_000,
        "next_usd_gain": 12.5,
        "points": [
            {
                "budget_usd": usd,
                "quality": quality,
                "low": quality,
                "high": quality,
                "supported": place < supported,
            }
            for place, (usd, quality) in enumerate(points)
        ],
        **more,
    }


CURVE = ((1, 0.5), (50, 0.7), (100, 0.8))


@pytest.mark.parametrize(
    ("budget", "points", "text"),
    [
        # To a large job a dollar is a small step, and what it brings is what the margin says.
        ("50", CURVE, "The next dollar: about 12 more right answers (cascade-batch budget j --add 1)."),
        # To a small one it is not: a tenth of its budget, along the curve.
        (
            "0.064",
            ((0.01, 0.5), (0.064, 0.7), (0.124, 0.8)),
            "The next $0.006: about 10 more right answers (cascade-batch budget j --add 0.006).",
        ),
        (
            "2",
            ((1, 0.5), (3, 0.55)),
            "The next $0.2: about 5 more right answers (cascade-batch budget j --add 0.2).",
        ),
        ("0", ((0, 0.5), (1, 0.6)), "The next dollar: about 12 more right answers"),
        # The end of the curve, or a curve that is flat from here on.
        ("100", CURVE, "More money is expected to buy no more right answers."),
        ("500", CURVE, "More money is expected to buy no more right answers."),
        ("10", ((1, 0.5), (10, 0.7), (20, 0.70001)), "More money is expected to buy no more"),
    ],
)  # fmt: skip
def test_what_comes_next_is_a_step_that_fits_the_job(budget, points, text):
    assert next_money_text(frontier(*points), "j", usd_to_nanousd(budget)).startswith(text)


def test_a_guess_is_called_one():
    budget = usd_to_nanousd(50)

    assert "at a guess (" in next_money_text(frontier(*CURVE, supported=2), "j", budget)
    unmeasured = next_money_text(frontier(*CURVE, measured=False), "j", budget)
    assert "about 12 answers improved, at a guess (" in unmeasured
    assert "guess" not in next_money_text(frontier(*CURVE), "j", budget)


def test_the_command_can_be_pasted():
    assert "budget 'my job' --add 1)" in next_money_text(
        frontier(*CURVE), "my job", usd_to_nanousd(50)
    )


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("50", "75", "Expected quality: 0.700 -> 0.750."),
        ("0.5", "1000", "Expected quality: 0.500 -> 0.800."),
        ("25.5", "50", "Expected quality: 0.600 -> 0.700."),
    ],
)
def test_added_money_is_expected_to_move_along_the_curve(before, after, text):
    assert added_money_text(frontier(*CURVE), usd_to_nanousd(before), usd_to_nanousd(after)) == text


def test_added_money_may_lead_where_nothing_was_seen():
    text = added_money_text(frontier(*CURVE, supported=2), usd_to_nanousd(50), usd_to_nanousd(75))

    assert text.startswith("Expected quality: 0.700 -> 0.750, at a guess")


def test_what_nobody_measured_is_not_called_quality():
    text = added_money_text(
        frontier(*CURVE, measured=False), usd_to_nanousd(50), usd_to_nanousd(75)
    )

    assert text == "Expected (unmeasured): 0.700 -> 0.750."
