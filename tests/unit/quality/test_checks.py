"""Checks: when a value counts as the right answer."""

import pytest

from cascade_batch.domain.job import Output
from cascade_batch.errors import UsageError
from cascade_batch.quality import make_judge

OBJECT = Output(schema={"type": "object"})


def passed(check, text, gold, output=None, **kwargs):
    return make_judge(output or Output(), check, **kwargs).judge(text, gold).passed


@pytest.mark.parametrize("check", ["exact", "numeric", "json", "contains", None])
@pytest.mark.parametrize("gold", [None, "", "  "])
def test_a_row_without_gold_is_undecided(check, gold):
    assert passed(check, "42", gold) is None


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("Paris", "Paris", True),
        ("  paris. ", "Paris", True),
        ("**Paris**", "paris", True),
        ("New\n York", "new york", True),
        ("e\u0301te\u0301", "été", True),
        ("The Beatles", "Beatles", False),
        ("Paris, France", "Paris", False),
        ("?", "!", False),
    ],
)
def test_exact_ignores_case_space_and_surrounding_punctuation_only(text, gold, right):
    assert passed("exact", text, gold) is right


@pytest.mark.parametrize(
    ("check", "text", "gold", "right"),
    [
        ("numeric", "42", "42.0", True),
        ("numeric", "1,234.50", "1234.5", True),
        ("numeric", "12 + 30 makes 42.", "42", True),
        ("numeric", "The answer is 42, and not 41", "42", True),
        ("numeric", "Answer: -5", "-5", True),
        ("numeric", "#### 18", "18", True),
        ("numeric", "from 10-12", "12", True),
        ("numeric", "$5 million? No: $7", "7", True),
        ("numeric", "50%", "50", True),
        ("numeric", "−3", "-3", True),  # noqa: RUF001
        ("numeric", "12345678901234567891", "12345678901234567890", False),
        ("numeric", "1e3", "1000", True),
        ("numeric", ".5", "0.5", True),
        ("numeric", "1e1e1", "1", True),
        ("numeric", "forty-two", "42", False),
        ("numeric", "41", "42", False),
        ("numeric:0.01", "100.9", "100", True),
        ("numeric:0.01", "101.1", "100", False),
        ("numeric:0.01", "-0.005", "0", True),
        ("numeric", "42", "many", None),
    ],
)
def test_numeric_compares_the_number_that_the_answer_states(check, text, gold, right):
    assert passed(check, text, gold) is right


def test_numeric_reads_numbers_of_json():
    number = Output(schema={"type": ["number", "boolean"]})
    assert passed("numeric", "0.1", "0.10", number) is True
    assert passed("numeric", "true", "1", number) is False


@pytest.mark.parametrize(
    ("check", "text", "gold", "right"),
    [
        ("json", '{"a": 1, "b": [true]}', '{"b": [true], "a": 1.0}', True),
        ("json", '{"a": 1, "extra": 0}', '{"a": 1}', True),
        ("json", '{"a": true}', '{"a": 1}', False),
        ("json", '{"b": 1}', '{"a": 1}', False),
        ("json", '{"a": "x"}', "x", None),
        ("json:a", '{"a": "x", "why": "…"}', "x", True),
        ("json:a", '{"a": 3}', "3", True),
        ("json:a", '{"a": 4}', "3", False),
        ("json:a,b", '{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 2, "c": 4}', True),
        ("json:a,b", '{"a": 1, "b": 2}', '{"a": 1}', None),
    ],
)
def test_json_compares_the_fields_that_gold_has_or_that_are_named(check, text, gold, right):
    assert passed(check, text, gold, OBJECT) is right


def test_json_lists_and_scalars_are_compared_whole():
    anything = Output(schema={})
    assert passed("json", "[1, 2]", "[1, 2]", anything) is True
    assert passed("json", "[1, 2]", "[2, 1]", anything) is False
    assert passed("json", "null", "null", anything) is True
    assert passed("json", "[1, 2]", "[1, 2]") is True


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("I think it is Paris, in France", "paris", True),
        ("1 of 12", "12", True),
        ("12", "1", False),
        ("scarlet, then car", "car", True),
        ("scarlet", "car", False),
        ("東京です", "東京", True),
        ("London", "Paris", False),
    ],
)
def test_contains_finds_whole_words(text, gold, right):
    assert passed("contains", text, gold) is right


def test_choice_reads_gold_as_it_reads_answers():
    output = Output(choices=("up", "down"))
    assert passed("choice", "Up.", " UP ", output) is True
    assert passed("choice", "down", "up", output) is False


def test_gold_that_is_none_of_the_choices_decides_nothing():
    judgement = make_judge(Output(choices=("up", "down")), "choice").judge("up", "sideways")
    assert judgement.passed is None
    assert "none of the choices" in judgement.error


def test_without_a_name_the_check_follows_the_output():
    assert passed(None, "UP", "up", Output(choices=("up", "down"))) is True
    assert passed(None, '{"a": 1, "b": 2}', '{"a": 1}', OBJECT) is True
    assert passed(None, "Paris!", "paris") is True


def test_what_does_not_fit_fails_without_being_checked():
    judgement = make_judge(OBJECT, "json").judge("no object", '{"a": 1}')
    assert judgement.passed is False
    assert "holds no JSON" in judgement.error


def test_a_failed_check_says_what_was_expected():
    assert "'London'" in make_judge(Output(), "exact").judge("Paris", "London").error


@pytest.mark.parametrize(
    "check", ["fuzzy", "exact:1", "python", "python:", "contains:x", "judge", ""]
)
def test_an_unknown_check_is_refused_and_the_known_ones_are_listed(check):
    with pytest.raises(UsageError) as caught:
        make_judge(Output(), check)
    assert "numeric:TOLERANCE" in caught.value.hint


def test_a_judge_is_refused_as_not_available_yet():
    with pytest.raises(UsageError, match="not available yet"):
        make_judge(Output(), "judge:large")


@pytest.mark.parametrize("check", ["numeric:x", "numeric:-1", "numeric:2", "numeric:nan"])
def test_a_tolerance_must_be_a_share(check):
    with pytest.raises(UsageError, match="tolerance"):
        make_judge(Output(), check)


def test_choice_needs_choices():
    with pytest.raises(UsageError, match="declared choices"):
        make_judge(Output(), "choice")


def user_check(folder, source, text="x", gold=None, name="marks"):
    (folder / f"{name}.py").write_text(source)
    judge = make_judge(Output(), f"python:{name}.f", check_path=str(folder))
    return judge.judge(text, gold)


@pytest.mark.parametrize(
    ("returned", "right"),
    [("True", True), ("False", False), ("0.5", True), ("0.2", False), ("1", True), ("None", None)],
)
def test_a_users_function_decides(tmp_path, returned, right):
    judgement = user_check(tmp_path, f"def f(value, gold): return {returned}")
    assert judgement.passed is right
    assert (judgement.error is not None) == (right is False)


def test_a_users_function_gets_the_value_and_gold(tmp_path):
    source = "def f(value, gold): return value == 'x' and gold is None"
    assert user_check(tmp_path, source).passed is True


@pytest.mark.parametrize(
    "body", ["return 'yes'", "return 7", "return float('nan')", "return 1 / 0"]
)
def test_a_fault_of_a_users_function_leaves_the_row_undecided_and_is_reported(tmp_path, body):
    judgement = user_check(tmp_path, f"def f(value, gold): {body}")
    assert judgement.passed is None
    assert judgement.value == "x"
    assert "check f" in judgement.error


def test_two_jobs_may_each_have_a_module_of_the_same_name_and_edits_count(tmp_path):
    for answer in ("True", "False"):
        folder = tmp_path / answer
        folder.mkdir()
        assert user_check(folder, f"def f(value, gold): return {answer}").passed is (
            answer == "True"
        )
    assert user_check(folder, "def f(value, gold): return 1.0").passed is True


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing_module.f", "ModuleNotFoundError"),
        ("broken.f", "SyntaxError"),
        ("fine.g", "no function 'g'"),
        ("fine", "module and a function"),
        ("fine.x y", "module and a function"),
    ],
)
def test_a_function_that_cannot_be_had_is_refused_at_once(tmp_path, target, reason):
    (tmp_path / "broken.py").write_text("def f(:")
    (tmp_path / "fine.py").write_text("def f(value, gold): return True")
    with pytest.raises(UsageError, match=reason):
        make_judge(Output(), f"python:{target}", check_path=str(tmp_path))


def test_a_function_is_found_where_python_finds_it():
    assert passed("python:operator.eq", "same", "same") is True
