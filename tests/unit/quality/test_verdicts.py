"""What a judge's reply says."""

import math

import pytest

from cascade_batch.domain.answer import Reply
from cascade_batch.quality import read_word


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("yes", True),
        ("No.", False),
        ("**Yes**", True),
        ("Yes, the answer names the right year.", True),
        ("The year is right but the month is not.\n\nAnswer: no", False),
        ("maybe", None),
        ("", None),
        ("yes and no", None),
    ],
)
def test_a_judge_says_yes_or_no_or_nothing(text, passed):
    word = read_word(Reply(text))
    assert word.passed is passed
    assert (word.error is None) == (passed is not None)
    assert word.probability is None


@pytest.mark.parametrize(("text", "probability"), [("Yes", 0.8), ("No", 0.8)])
def test_its_probability_is_that_of_a_yes_whichever_word_it_says(text, probability):
    top = {"Yes": math.log(0.8), "No": math.log(0.2)}
    word = read_word(Reply(text, logprobs=(-0.2,), top_logprobs=top))
    assert word.passed is (text == "Yes")
    assert word.probability == pytest.approx(probability)


def test_a_first_word_that_is_not_the_verdict_says_nothing_about_it():
    top = {"Yes": math.log(0.9), "No": math.log(0.1)}
    word = read_word(
        Reply("Yes, it begins well. Answer: no", logprobs=(-0.1,) * 8, top_logprobs=top)
    )
    assert word.probability is None


def test_a_judge_that_declines_or_is_cut_off_gives_no_verdict():
    assert read_word(Reply("yes", refusal=True)).passed is None
    cut = read_word(Reply("Let me", finish_reason="length"))
    assert cut.passed is None
    assert cut.error.startswith("truncated")
