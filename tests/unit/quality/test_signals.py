"""Signals: what log-probabilities say about an answer and about the choice in it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.answer import Reply
from cascade_batch.domain.job import Output
from cascade_batch.quality import (
    confidence_of,
    make_judge,
    signals_of,
    value_key,
    with_stated_confidence,
)

UP_DOWN = Output(choices=("up", "down", "none"))


def label_probability(text, top, *, output=UP_DOWN, logprobs=(-0.5,)):
    top_logprobs = {token: math.log(p) for token, p in top.items()}
    signals = signals_of(Reply(text, logprobs=logprobs, top_logprobs=top_logprobs), output)
    return None if signals.label_logprob is None else math.exp(signals.label_logprob)


def test_token_logprobs_are_summed_averaged_and_their_least_is_kept():
    signals = signals_of(Reply("a b c", logprobs=(-0.1, -0.6, -0.2)), Output())
    assert signals.logprob_sum == pytest.approx(-0.9)
    assert signals.logprob_mean == pytest.approx(-0.3)
    assert signals.logprob_min == -0.6
    assert signals.label_logprob is None


def test_a_reply_without_logprobs_has_no_signals():
    signals = signals_of(Reply("up"), UP_DOWN)
    assert signals.logprob_mean is None
    assert signals.label_logprob is None
    assert confidence_of(signals) is None


def test_minus_infinity_becomes_a_number_that_json_can_hold():
    signals = signals_of(Reply("x", logprobs=(-0.1, -math.inf)), Output())
    assert math.isfinite(signals.logprob_sum)
    assert math.isfinite(signals.logprob_min)


def test_a_refusal_is_kept_as_a_signal():
    assert signals_of(Reply("No.", refusal=True), Output()).extra == {"refusal": True}
    assert signals_of(Reply("I can", logprobs=(-1.0,)), Output()).extra == {}


@pytest.mark.parametrize(
    ("text", "refuses", "hedges"),
    [
        ("I'm sorry, but I can't help with that.", True, False),
        ("I cannot answer this.", True, False),
        ("As an AI language model, I have no opinion.", True, False),
        ("I’m not sure, but Paris?", False, True),  # noqa: RUF001
        ("Paris, I think", False, True),
        ("It cannot be determined from the text.", False, True),
        ("Paris", False, False),
        ("up", False, False),
        ("", False, False),
        ("The song is called 'Paris'. " * 20 + "I cannot dance.", False, False),
        ("word " * 1000 + "so my best guess is Paris", False, True),
    ],
)
def test_words_of_refusal_and_of_doubt_are_flagged(text, refuses, hedges):
    extra = signals_of(Reply(text), Output()).extra
    assert ("refusal_words" in extra) is refuses
    assert ("hedge_words" in extra) is hedges


def test_a_flag_is_no_verdict():
    judgement = make_judge(Output(), "exact").judge("I cannot", "I cannot")
    assert judgement.passed is True


def test_quantiles_say_how_the_tokens_spread():
    logprobs = tuple(-n / 10 for n in range(11))
    extra = signals_of(Reply("eleven tokens", logprobs=logprobs), Output()).extra
    assert extra == {"logprob_q10": -0.9, "logprob_q50": -0.5}
    assert signals_of(Reply("one", logprobs=(-0.5,)), Output()).extra == {}


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=40))
def test_quantiles_lie_between_the_least_and_the_mean_is_within(logprobs):
    signals = signals_of(Reply("x", logprobs=tuple(logprobs)), Output())
    least, q10, q50 = (
        signals.logprob_min,
        signals.extra["logprob_q10"],
        signals.extra["logprob_q50"],
    )
    slack = 1e-4 * abs(least)
    assert least - slack <= q10 <= q50 + slack
    assert q50 <= max(logprobs) + slack


def test_what_is_kept_survives_json():
    signals = signals_of(Reply("x", logprobs=(-0.1, -math.inf, -1e-9)), Output())
    assert json.loads(json.dumps(signals.extra, allow_nan=False)) == signals.extra
    assert signals.extra["logprob_q50"] == -0.1


def test_variants_of_case_and_space_count_for_the_same_choice():
    top = {"up": 0.3, " Up": 0.3, "UP": 0.1, "down": 0.2, "none": 0.1}
    assert label_probability("up", top) == pytest.approx(0.7)


def test_tokens_that_are_no_choice_take_no_part():
    top = {"up": 0.3, "down": 0.1, "none": 0.1, "The": 0.5}
    assert label_probability("up", top) == pytest.approx(0.6)


def test_the_start_of_a_choice_stands_for_the_choice():
    output = Output(choices=("positive", "negative"))
    assert label_probability("positive", {"pos": 0.6, "neg": 0.2}, output=output) == pytest.approx(
        0.75
    )


def test_a_choice_that_is_not_listed_keeps_what_it_may_have():
    alone = label_probability("up", {"up": 0.6})
    assert alone == pytest.approx(0.6)
    assert label_probability("up", {"up": 0.6, "down": 0.3}) < 0.7


def test_choices_with_the_same_first_token_fall_back_to_the_whole_answer():
    output = Output(choices=("very good", "very bad"))
    probability = label_probability(
        "very good", {"very": 0.99}, output=output, logprobs=(math.log(0.99), math.log(0.7))
    )
    assert probability == pytest.approx(0.99 * 0.7)


def test_an_answer_that_explains_itself_is_graded_by_its_first_token_alone():
    top = {"up": 0.8, "down": 0.1, "none": 0.1}
    assert label_probability("Up, because rates fall.", top) == pytest.approx(0.8)
    assert label_probability("Up, because rates fall.", {"The": 1.0}, logprobs=(-1.0,) * 9) is None


def test_an_answer_that_starts_with_no_choice_has_no_label():
    assert label_probability("upwards", {"up": 0.8, "down": 0.2}) is None
    assert label_probability("I think up", {"I": 0.8}) is None


def test_confidence_prefers_the_label_to_the_tokens():
    reply = Reply("up", logprobs=(-0.5,), top_logprobs={"up": -0.1, "down": -3.0, "none": -4.0})
    signals = signals_of(reply, UP_DOWN)
    assert confidence_of(signals) == signals.label_logprob != signals.logprob_mean


def test_choices_that_differ_by_case_alone_are_not_confused():
    signals = signals_of(
        Reply("a", logprobs=(-0.2,), top_logprobs={"a": -0.2, "A": -2.0}),
        Output(choices=("a", "A")),
    )
    assert signals.label_logprob is None
    assert confidence_of(signals) == -0.2


SELF_ASSESSED = Output.model_validate(
    {
        "schema": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "sure": {"type": "number", "minimum": 0, "maximum": 100},
            },
        },
        "confidence": "sure",
    }
)


@pytest.mark.parametrize(
    ("said", "share"), [(100, 1.0), (50, 0.5), (0, 1e-6), (250, 1.0), (-3, 1e-6)]
)
def test_what_an_answer_says_of_its_confidence_stands_in_for_log_probabilities(said, share):
    reply = Reply("{}")
    signals = with_stated_confidence(
        signals_of(reply, SELF_ASSESSED), {"label": "a", "sure": said}, SELF_ASSESSED
    )
    assert confidence_of(signals) == pytest.approx(math.log(share))
    assert signals.extra["stated_confidence"] == share


def test_log_probabilities_come_before_what_an_answer_says_of_itself():
    signals = signals_of(Reply("{}", logprobs=(-0.3,)), SELF_ASSESSED)
    signals = with_stated_confidence(signals, {"label": "a", "sure": 90}, SELF_ASSESSED)
    assert confidence_of(signals) == pytest.approx(-0.3)
    assert signals.extra["stated_confidence"] == 0.9


@pytest.mark.parametrize("value", [None, "a", {"label": "a"}, {"sure": "very"}, {"sure": True}])
def test_an_answer_that_does_not_say_gives_nothing_away(value):
    signals = with_stated_confidence(signals_of(Reply("{}"), SELF_ASSESSED), value, SELF_ASSESSED)
    assert confidence_of(signals) is None


def test_how_sure_an_answer_is_makes_it_no_other_answer():
    one, same, other = (
        value_key({"label": label, "sure": sure}, "", SELF_ASSESSED)
        for label, sure in (("a", 10), ("a", 90), ("b", 10))
    )
    assert one == same != other


@pytest.mark.parametrize(
    "output",
    [
        {"confidence": "sure"},
        {"confidence": "sure", "choices": ["a", "b"]},
        {"confidence": "sure", "schema": {"properties": {"label": {"type": "string"}}}},
        {"confidence": "sure", "schema": {"properties": {"sure": {"type": "number"}}}},
        {
            "confidence": "sure",
            "schema": {"properties": {"sure": {"type": "string", "maximum": 1}}},
        },
    ],
)
def test_a_field_that_can_hold_no_confidence_is_refused(output):
    with pytest.raises(ValueError, match="maximum"):
        Output.model_validate(output)
