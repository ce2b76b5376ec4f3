"""Checks: when a value counts as the right answer."""

import pytest

from cascade_batch.domain.job import Output
from cascade_batch.errors import UsageError
from cascade_batch.quality import make_judge

OBJECT = Output(schema={"type": "object"})


def passed(check, text, gold, output=None, **kwargs):
    return make_judge(output or Output(), check, **kwargs).judge(text, gold).passed


@pytest.mark.parametrize("check", ["exact", "normalised", "numeric", "json", "contains", None])
@pytest.mark.parametrize("gold", [None, "", "  ", "[]"])
def test_a_row_without_gold_is_undecided(check, gold):
    if (check, gold) != ("json", "[]"):
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
    ("text", "gold", "right"),
    [
        ("The Beatles!", "beatles", True),
        ("the U.S.", "US", True),
        ("a well-known man", "well known man", True),
        ("Paris, France", "Paris France", True),
        ("It's 1,000.50", "its 1000.5", True),
        ("1.5", "15", False),
        ("-5", "5", False),
        ("10-12", "1012", False),
        ("50%", "50", False),
        ("C#", "C", False),
        ("vitamin A", "vitamin", False),
        ("A", "(A)", True),
        ("हिन्दी", "हनद", False),
        ("Paris or Rome", "Paris", False),
    ],
)
def test_normalised_ignores_punctuation_and_articles_but_nothing_that_carries_meaning(
    text, gold, right
):
    assert passed("normalised", text, gold) is right
    assert passed("normalized", text, gold) is right


@pytest.mark.parametrize(
    ("check", "text", "gold", "right"),
    [
        ("exact", "rome", '["Paris", "Rome"]', True),
        ("exact", "Oslo", '["Paris", "Rome"]', False),
        ("exact", '["Paris", "Rome"]', '["Paris", "Rome"]', True),
        ("normalised", "The City of Light", '["Paris", "city of light"]', True),
        ("numeric", "about 4", "[3, 4.0]", True),
        ("numeric", "5", "[3, 4]", False),
        ("numeric:abs=1", "5", "[3, 4]", True),
        ("contains", "I say Rome.", '["Paris", "Rome"]', True),
        ("exact", "x", '["x", ""]', True),
        ("exact", '[{"a": 1}]', '[{"a": 1}]', True),
        ("exact", "[sic]", "[sic]", True),
    ],
)
def test_gold_may_list_several_accepted_answers(check, text, gold, right):
    assert passed(check, text, gold) is right


def test_gold_may_list_several_choices():
    output = Output(choices=("up", "down", "none"))
    assert passed("choice", "Down", '["up", "down"]', output) is True
    assert passed("choice", "none", '["up", "down"]', output) is False
    assert passed("choice", "none", '["sideways"]', output) is None


@pytest.mark.parametrize(
    ("text", "right"), [("id: A-17", True), ("id: a-17", False), ("17", False)]
)
def test_a_pattern_decides_without_gold(text, right):
    assert passed("regex:[A-Z]-[0-9]+", text, None) is right


def test_a_pattern_with_a_colon_is_taken_whole_and_looks_at_json_as_it_is_written():
    assert passed("regex:^Answer: (yes|no)$", "Answer: no", None) is True
    assert passed('regex:"label": "(up|down)"', '{"label": "up"}', None, OBJECT) is True


def test_a_pattern_is_audited_on_gold():
    judge = make_judge(Output(), "regex:^[a-z]+$")
    assert judge.judge("paris", "Paris").matches_gold is True
    assert judge.judge("london", "Paris").matches_gold is False
    assert judge.judge("london", "Paris").passed is True
    assert judge.judge("paris", None).matches_gold is None


def test_a_pattern_that_would_take_years_decides_nothing_and_says_so():
    judgement = make_judge(Output(), "regex:^(a|aa)+$").judge("a" * 300 + "b", None)
    assert judgement.passed is None
    assert "takes too long" in judgement.error
    assert judgement.value is not None


def test_hundreds_of_answers_that_no_pattern_can_be_found_in_do_not_hold_up_a_worker():
    judge = make_judge(Output(pattern="(?:a|aa)+$"), "regex:(a|aa)+$")
    # Each of them would be years; the test's own time-out is what would notice.
    for _ in range(300):
        assert judge.judge("a" * 300 + "b", None).value is None
    assert judge.judge("aaa", None).passed is True


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(UsageError, match="no regular expression"):
        make_judge(Output(), "regex:(")


def test_a_judge_decides_nothing_by_itself_and_is_audited_on_gold():
    judge = make_judge(Output(choices=("up", "down")), "judge:large")
    assert judge.judge("up", "down") == judge.judge("up", "down")
    assert judge.judge("up", "down").passed is None
    assert judge.judge("up", "down").matches_gold is False
    assert judge.judge("up", None).matches_gold is None
    assert judge.judge("sideways", None).passed is False


def test_where_the_check_compares_with_gold_its_word_is_golds():
    judge = make_judge(Output(), "exact")
    assert judge.judge("x", "x").matches_gold is True
    assert judge.judge("x", "y").matches_gold is False
    assert judge.judge("x", None).matches_gold is None
    assert judge.judge("  ", "y").matches_gold is False


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
        ("numeric:rel=0.01", "100.9", "100", True),
        ("numeric:abs=0.5", "100.5", "100", True),
        ("numeric:abs=0.5", "100.51", "100", False),
        ("numeric:abs=0.5", "0.5", "0", True),
        ("numeric:abs=2, rel=0.1", "111", "100", False),
        ("numeric:abs=2, rel=0.1", "109", "100", True),
        ("numeric:rel=0.1,abs=20", "119", "100", True),
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
    "check",
    [
        "fuzzy",
        "exact:1",
        "python",
        "python:",
        "contains:x",
        "judge",
        "judge:",
        "regex",
        "regex:",
        "",
    ],
)
def test_an_unknown_check_is_refused_and_the_known_ones_are_listed(check):
    with pytest.raises(UsageError) as caught:
        make_judge(Output(), check)
    assert "numeric:TOLERANCE" in caught.value.hint


@pytest.mark.parametrize(
    "check",
    [
        *("numeric:x", "numeric:-1", "numeric:2", "numeric:nan", "numeric:abs=", "numeric:abs=-1"),
        *("numeric:rel=2", "numeric:abs=1,abs=2", "numeric:0.1,rel=0.1", "numeric:within=3"),
    ],
)
def test_a_tolerance_must_be_a_share_or_an_amount(check):
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


def test_a_users_function_that_is_given_gold_is_what_compares_with_it(tmp_path):
    source = "def f(value, gold): return gold == 'tests: x'"
    assert user_check(tmp_path, source, gold="tests: x").matches_gold is True
    assert user_check(tmp_path, source, gold="tests: y").matches_gold is False
    assert user_check(tmp_path, "def f(value, gold): return True").matches_gold is None


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
