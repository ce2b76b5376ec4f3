"""Reading values from answers: what fits, what does not, and what is left alone as ambiguous."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.job import Output
from cascade_batch.domain.text import clean_text
from cascade_batch.errors import UsageError
from cascade_batch.quality import make_judge

HEADLINES = Output(choices=("up", "down", "none"))
LETTERS = Output(choices=("A", "B", "C", "D"))
LABELLED = Output(
    schema={
        "type": "object",
        "properties": {"label": {"enum": ["up", "down"]}, "score": {"type": "number"}},
        "required": ["label"],
    }
)


def judged(output, text, **kwargs):
    return make_judge(output, None).judge(text, None, **kwargs)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("up", "up"),
        ("Up", "up"),
        (" UP.\n", "up"),
        ("**Down**", "down"),
        ("`none`", "none"),
        ("Answer: down", "down"),
        ("Rates may go up or stay. Final answer: **down**", "down"),
        ("The correct label is 'none'.", "none"),
        ("up\n\nFalling rates would not push it down.", "up"),
        ("Falling rates push it up, never down.\n\nNone", "none"),
        ("I believe that gold goes up after this", "up"),
    ],
)
def test_a_choice_is_found_in_the_ways_models_write_it(text, choice):
    judgement = judged(HEADLINES, text)
    assert judgement.value == choice
    assert judgement.error is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "It could go up or down.",
        "Answer: up. No, wait. Answer: down",
        "The answer is not up.",
        "It doesn't go up",
        "update",
        "sideways",
        "up\ndown",
    ],
)
def test_an_ambiguous_or_missing_choice_does_not_fit(text):
    judgement = judged(HEADLINES, text)
    assert judgement.value is None
    assert not judgement.has_value
    assert judgement.passed is False
    assert judgement.error


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("B. Paris", "B"),
        ("B: True, True", "B"),
        ("The answer is A because of the rates", "A"),
        ("A good question. I say C.", "C"),
        ("A good question", None),
        ("A, B", None),
        ("It's a difficult one", None),
    ],
)
def test_a_single_letter_is_not_taken_from_a_sentence(text, letter):
    assert judged(LETTERS, text).value == letter


def test_a_choice_within_another_is_told_apart():
    output = Output(choices=("good", "not good", "C", "C#"))
    assert judged(output, "I would say: not good!").value == "not good"
    assert judged(output, "**C#**").value == "C#"
    assert judged(output, "c#").value == "C#"
    assert judged(output, "C.").value == "C"


def test_choices_that_differ_by_case_need_the_right_case():
    output = Output(choices=("us", "US"))
    assert judged(output, "US").value == "US"
    assert judged(output, "Us").value is None


@given(st.text(max_size=60))
def test_any_text_gets_a_judgement_and_a_value_is_always_a_declared_choice(text):
    judgement = judged(HEADLINES, text)
    assert judgement.value in (None, "up", "down", "none")
    assert (judgement.value is None) == (judgement.error is not None)


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "up", "score": 0.5}',
        '```json\n{"label": "up", "score": 0.5}\n```',
        'Sure! Here it is:\n\n```\n{"label": "up", "score": 0.5}\n```\nAnything else?',
        'Given {x} and [y], I say {"label": "up", "score": 0.5}.',
        '{"thought": "an object of another kind"} and then {"label": "up", "score": 0.5}',
    ],
)
def test_json_is_found_around_fences_and_prose(text):
    assert judged(LABELLED, text).value == {"label": "up", "score": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"label": "sideways"}', "$.label"),
        ('{"score": 1}', "required"),
        ('{"label": "up", "score": NaN}', "no JSON"),
        ('{"label": "up", "score": 1e999}', "no JSON"),
        ("up", "no JSON"),
        ("", "empty"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_json_that_does_not_fit_says_where_and_why(text, reason):
    judgement = judged(LABELLED, text)
    assert not judgement.has_value
    assert reason in judgement.error
    assert len(judgement.error) < 250


def test_json_null_is_a_value_where_the_schema_allows_it():
    judgement = judged(Output(schema={"type": ["null", "number"]}), "null")
    assert judgement.value is None
    assert judgement.has_value
    assert judgement.passed is None


def test_characters_that_postgres_refuses_are_replaced_in_values():
    escaped = judged(Output(schema={"type": "object"}), r'{"a\u0000": ["x\ud800y", "z\u0000"]}')
    assert escaped.value == {"a�": ["x�y", "z�"]}
    assert judged(Output(), "a\0b").value == "a�b"
    json.dumps(escaped.value, ensure_ascii=False).encode()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_a_cleaned_text_can_be_stored_and_is_changed_where_needed_only(text):
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    if "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
        assert cleaned == text


def test_a_schema_may_refer_to_its_own_definitions_and_to_nothing_else():
    own = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    assert judged(Output(schema=own), "[1, 2]").value == [1, 2]
    assert judged(Output(schema=own), '["x"]').value is None
    for reference in ("https://example.com/schema.json", "#/$defs/missing"):
        with pytest.raises(UsageError, match="does not hold"):
            make_judge(Output(schema={"$ref": reference}), None)


def test_a_schema_that_is_none_is_refused_with_its_place():
    with pytest.raises(UsageError, match=r"\$\.type"):
        make_judge(Output(schema={"type": "objekt"}), None)


def test_format_is_not_enforced():
    output = Output(schema={"type": "string", "format": "date"})
    assert judged(output, '"tomorrow"').value == "tomorrow"


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        (r"\d{4}", " 1999 ", "1999"),
        (r"\d{4}", "It was in 1999, yes 1999.", "1999"),
        (r"\d{4}", "1999 or 2001", None),
        (r"\d{4}", "long ago", None),
        (r"year (\d{4})", "the year 1999 it was", "1999"),
        (r"(\d+)?x", "x", "x"),
        (r"\d*", "none here", None),
    ],
)
def test_a_pattern_gives_its_group_or_match_if_there_is_one_only(pattern, text, value):
    assert judged(Output(pattern=pattern), text).value == value


def test_free_text_fits_unless_it_is_empty():
    assert judged(Output(), " some words ").value == "some words"
    assert judged(Output(), " \n").passed is False


def test_fitting_is_no_evidence_of_being_right():
    for output, text in ((HEADLINES, "up"), (LABELLED, '{"label": "up"}'), (Output(), "words")):
        assert judged(output, text).passed is None


def test_an_answer_cut_off_says_so_only_if_it_does_not_fit():
    assert judged(LABELLED, '{"label": "u', finish_reason="length").error.startswith("truncated")
    assert judged(Output(), "", finish_reason="length").error.startswith("truncated")
    assert judged(HEADLINES, "up", finish_reason="length").error is None
    assert "content filter" in judged(HEADLINES, "", finish_reason="content_filter").error


def test_a_refusal_never_fits():
    judgement = judged(Output(), "I can't help with that.", refusal=True)
    assert not judgement.has_value
    assert judgement.passed is False
    assert "declined" in judgement.error
