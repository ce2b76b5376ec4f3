"""Values in the texts of recorded answers."""

from __future__ import annotations

import pytest

from cascade_batch.replay.values import marked_value, read_values

FENCED = 'I think {x}.\n```json\n{"reasoning": "so", "answer": "[1, 2]"}\n```'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"reasoning": "so", "answer": "42"}', "42"),
        (FENCED, "[1, 2]"),
        ('{"answer": 42}', "42"),
        ('{"answer": [1, "a"]}', "[1, 'a']"),
        ('{"answer": null}', None),
        ('{"answer": ""}', ""),
        ('{"reasoning": "is", "answer": (1, 2)}', "(1, 2)"),
        ('{"answer": {"a": {"b": 1}}} and that is it', "{'a': {'b': 1}}"),
        ('{"reasoning": "no end', None),
        (" We refer to Wikipedia. The answer is (E).\n\n", "E"),
        ("The answer is (A).\n\nThe answer is (H).", "A"),
        ("**Answer:** B", None),
        ("Answer: **B**", "B"),
        ("The final answer is 1,000.", "1,000."),
        ("The answer is not listed.", None),
        ("Nicholas Nickleby", None),
        ("", None),
    ],
)
def test_the_value_is_found_where_the_text_marks_it(text, value):
    assert marked_value(text) == value


def keys(*texts: str) -> list[int]:
    return read_values(texts)[0].tolist()


def test_whole_texts_are_compared_without_case_articles_and_punctuation():
    the, bare, other, empty = keys("The Beatles.", "beatles", "The Rolling Stones", " ")

    assert the == bare != 0
    assert other not in (the, 0)
    assert empty == 0


def test_marked_values_keep_what_carries_meaning():
    spaced, tight, brackets, case, quotes = keys(
        *(f'{{"answer": "{value}"}}' for value in ("[1, 2]", "[1,2]", "(1, 2)", "[a]", "'[1,2]'"))
    )

    assert spaced == tight == quotes
    assert len({spaced, brackets, case}) == 3
    assert keys('{"answer": "A"}', '{"answer": "a"}')[0] != keys('{"answer": "a"}')[0]


def test_where_most_answers_mark_a_value_one_without_does_not_fit():
    marked, fits = read_values(["The answer is (A).", "The answer is (B).", "and so on and so on"])

    assert fits.tolist() == [True, True, False]
    assert marked[2] == 0


def test_where_few_answers_mark_a_value_any_text_fits():
    _, fits = read_values(["Paris", "London", "The answer is (B).", ""])

    assert fits.tolist() == [True, True, True, False]
