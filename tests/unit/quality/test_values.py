"""Keys of values: equal for answers that say the same, and for no others."""

import copy
import json
import random
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cascade_batch.domain.job import Output
from cascade_batch.quality import make_judge, value_key
from cascade_batch.quality.json_text import same_json
from cascade_batch.quality.text import normalise

FREE = Output()
CHOICES = Output(choices=("C", "C#", "c"))
ANYTHING = Output(schema={})

WORD = st.text(string.ascii_lowercase, min_size=1, max_size=8).filter(
    lambda w: w not in ("a", "an", "the")
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3)
    ),
    max_leaves=8,
)


def key(value, output=FREE):
    return value_key(value, "", output)


@given(st.text(max_size=100))
def test_a_key_is_a_stable_number_of_64_bits(text):
    first = key(text)
    assert -(2**63) <= first < 2**63
    assert first == key(text)
    assert (first == 0) == (text.strip() == "" or not normalise(text))


def test_keys_stay_the_same_over_versions():
    # They are stored: what a newer version computes is compared with what an older one kept.
    stored = [-7967034919249969386, -649571662916077706, 4236419417845992067]
    assert [key("paris"), key(1), key({"a": [1]}, ANYTHING)] == stored


@given(st.lists(WORD, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_case_space_punctuation_and_articles_make_no_difference(words, rng: random.Random):
    plain = " ".join(words)
    dressed = "".join(
        rng.choice(["", " The ", " a ", "  "])
        + " "
        + rng.choice([w, w.upper(), f"*{w}*", f'"{w}",'])
        for w in words
    )
    assert key(dressed) == key(plain) != 0


@given(st.lists(WORD, min_size=1, max_size=6), st.lists(WORD, min_size=1, max_size=6))
def test_other_words_make_another_key(one, other):
    assume(one != other)
    assert key(" ".join(one)) != key(" ".join(other))


@given(st.integers(-(10**12), 10**12))
def test_a_number_has_one_key_however_it_is_written(number):
    ways = [number, float(number), f"{number}.00", f" {number:,}. "]
    assert len({key(way) for way in ways}) == 1


@given(st.decimals(-1000, 1000, places=3), st.decimals(-1000, 1000, places=3))
def test_different_numbers_have_different_keys(one, other):
    same = one == other
    assert (key(str(one)) == key(str(other))) is same
    assert (key(float(one), ANYTHING) == key(float(other), ANYTHING)) is same
    assert key(float(one), ANYTHING) == key(str(one)) or "e" in repr(float(one))


@given(JSON, st.randoms(use_true_random=False))
def test_json_is_compared_as_json(value, rng: random.Random):
    def shuffled(part):
        if isinstance(part, dict):
            items = list(part.items())
            rng.shuffle(items)
            return {name: shuffled(inner) for name, inner in items}
        if isinstance(part, list):
            return [shuffled(inner) for inner in part]
        return float(part) if type(part) is int and abs(part) < 2**53 else part

    other = shuffled(copy.deepcopy(value))
    assert same_json(value, other)
    assert key(value, ANYTHING) == key(other, ANYTHING)


@given(JSON, JSON)
def test_json_that_differs_has_another_key(one, other):
    assume(not isinstance(one, str) and not isinstance(other, str))
    assume(one is not None and other is not None)
    assert (key(one, ANYTHING) == key(other, ANYTHING)) is same_json(one, other)


def test_choices_are_compared_as_they_are_declared():
    assert len({key(choice, CHOICES) for choice in ("C", "C#", "c")}) == 3


@pytest.mark.parametrize(
    ("value", "text", "output"),
    [
        (None, "no such choice", CHOICES),
        (None, "no json", ANYTHING),
        (None, "", FREE),
        ("", "", FREE),
        ("word " * 300, "", FREE),
        (json.loads("[" * 900 + "]" * 900), "", ANYTHING),
    ],
)
def test_where_there_is_nothing_to_compare_the_key_is_0(value, text, output):
    assert value_key(value, text, output) == 0


def test_free_text_that_was_not_parsed_is_compared_by_its_text():
    assert value_key(None, "Paris!", FREE) == value_key("paris", "paris", FREE) != 0


@given(st.text(max_size=60))
def test_any_answer_has_a_key(text):
    for output in (FREE, CHOICES, Output(schema={"type": "object"}), Output(pattern="[a-z]+")):
        judgement = make_judge(output, None).judge(text, None)
        found = value_key(judgement.value, text, output)
        if not output.is_free_text:
            assert (found == 0) == (not judgement.has_value)
