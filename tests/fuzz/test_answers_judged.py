"""Whatever a model says: a judgement, within bounds of time and memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.answer import Judgement, Reply, Signals
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.errors import UsageError
from cascade_batch.prompts import judge_prompt
from cascade_batch.quality import make_judge, signals_of, with_stated_confidence
from cascade_batch.quality.json_text import MAX_DEPTH
from cascade_batch.quality.values import value_key
from cascade_batch.quality.verdicts import read_word
from cascade_batch.replay.values import read_values
from tests.fuzz.hostile import FUZZ, VALUES, spoilt_tree

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["label"],
    "properties": {
        "label": {"enum": ["a", "b"]},
        "sure": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.5},
        "tags": {
            "type": "array",
            "uniqueItems": True,
            "items": {"type": "string", "pattern": "^(x+)+$"},
        },
        "more": {"$ref": "#"},
    },
    "patternProperties": {"^(y+)+$": {"type": "integer"}},
    "additionalProperties": {"type": "boolean"},
}
FITTING = {"label": "a", "sure": 50, "tags": ["x"], "more": {"label": "b"}, "yy": 1, "other": True}
OUTPUTS = [
    Output(),
    Output(choices=("up", "down", "A", "very good", "1")),
    Output(json_schema=SCHEMA, confidence="sure"),
    Output(json_schema={}),
    Output(pattern="(a+)+$"),
]
CHECKS = """
    exact normalised choice numeric numeric:rel=0.01,abs=0.5 json json:label,x contains regex:(a+)+$
    """.split()
FRAGMENTS = st.sampled_from(
    [
        *(
            "```json\n",
            "```",
            "\n",
            "{",
            "}",
            "[",
            "]",
            '"',
            "\\u0000",
            "\\ud800",
            "\0",
            "\ud800",
            "\u2028",
        ),
        *(
            "answer is ",
            "Answer: ",
            "**up**",
            "up",
            "down",
            "A",
            "not ",
            "n't ",
            "very",
            "good",
            "####",
        ),
        *(
            "1,000",
            "-",
            "\u2212",
            "1e9999",
            "9" * 5000,
            ".5",
            "٣",
            "NaN",
            "Infinity",
            "null",
            "true",
            "ﷺ",
            "é",
        ),
        *(
            '{"label": "a"}',
            '{"answer": "x"}',
            '"answer"',
            "yes",
            "no",
            "I cannot",
            "aaaa!",
            "\u0301",
        ),
    ]
)
TEXTS = st.one_of(
    st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join),
    st.tuples(FRAGMENTS, st.integers(1, 3000)).map(lambda p: p[0] * min(p[1], 50_000 // len(p[0]))),
    spoilt_tree(FITTING).map(json.dumps),
    VALUES.map(json.dumps),
)


def judged(output: Output, check: str | None, text: str, gold: str | None) -> Judgement | None:
    """Judge an answer as a worker would; the property itself. None: the check does not suit the output."""
    try:
        judge = make_judge(output, check)
    except UsageError:
        return None
    reply = Reply(text=text, finish_reason="stop")
    judgement = judge.judge(text, gold, finish_reason="length")
    assert judgement.passed in (None, True, False)
    json.dumps(judgement.value, allow_nan=False).encode()
    assert judgement.error is None or len(judgement.error) < 100_000
    key = value_key(judgement.value, text, output)
    assert -(2**63) <= key < 2**63
    signals = with_stated_confidence(signals_of(reply, output), judgement.value, output)
    assert signals.label_logprob is None or signals.label_logprob <= 0
    word = read_word(reply)
    assert word.probability is None
    read_values([text, "Answer: B"])
    prompt = judge_prompt(Prompt([{"role": "user", "content": "q"}]), text)
    assert prompt.messages
    return judgement


@FUZZ
@given(st.sampled_from(OUTPUTS), st.sampled_from([None, *CHECKS]), TEXTS, TEXTS | st.none())
def test_any_text(output: Output, check: str | None, text: str, gold: str | None) -> None:
    judged(output, check, text, gold)


@FUZZ
@given(spoilt_tree(SCHEMA), TEXTS)
def test_any_schema(schema: Any, text: str) -> None:
    if isinstance(schema, dict):
        judged(Output(json_schema=schema), None, text, None)


@FUZZ
@given(st.text(st.sampled_from("ab(|)*+?{}[]\\^$.,:<=!123Pxd-")), TEXTS)
def test_any_pattern(pattern: str, text: str) -> None:
    try:
        output = Output(pattern=pattern)
    except ValueError:
        output = Output()
    judged(output, f"regex:{pattern}", text, "x")


@FUZZ
@given(
    st.text(max_size=20)
    | st.sampled_from(CHECKS).flatmap(lambda c: st.text(max_size=9).map(c.__add__))
)
def test_any_name_of_a_check(name: str) -> None:
    judged(Output(), None if name.strip().startswith("python") else name, "1 x", "2")


def nested(depth: int, inside: str) -> str:
    return '{"a":' * depth + inside + "}" * depth


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (Output(json_schema={"type": "object"}), "```" + "\n" * 100_000 + "x"),
        (Output(json_schema={"type": "object"}), "``` " * 60_000 + "x"),
        (Output(json_schema={"type": "object"}), "[{" * 200_000),
        (Output(json_schema={"type": "object"}), nested(900, "1")),
        (Output(json_schema={"type": "object"}), nested(MAX_DEPTH + 1, "1")),
        (Output(json_schema={"type": "object"}), 'x {"b":"\\u0000","a":' + nested(800, "1") + "}"),
        (Output(json_schema={"multipleOf": 0.1}), "1" + "0" * 400),
        (Output(json_schema={"pattern": "^(a+)+$"}), '"' + "a" * 60 + 'b"'),
        (
            Output(
                json_schema={"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
            ),
            '{"' + "a" * 60 + 'b":1}',
        ),
        (
            Output(json_schema={"uniqueItems": True}),
            json.dumps([{"a": number} for number in range(20_000)] + [{"a": 1.0}]),
        ),
        (Output(pattern="(a+)+$"), "a" * 60 + "b"),
        (Output(choices=tuple(f"choice number {no}" for no in range(2000))), "choice " * 20_000),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_answers_that_broke_something(output: Output, text: str) -> None:
    judgement = make_judge(output, None).judge(text, None)
    assert judgement.passed is False
    assert judgement.error


def test_a_key_that_a_pattern_of_the_schema_takes_ages_over() -> None:
    judge = make_judge(Output(json_schema={"patternProperties": {"^(a+)+$": {}}}), None)
    assert judge.judge('{"' + "a" * 60 + 'b": 1}', None)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 240, 400, 900])
def test_json_of_any_depth_is_compared_or_is_text(depth: int) -> None:
    judge = make_judge(Output(), "json")
    assert judge.judge(nested(depth, "1"), nested(depth, "1")).passed
    assert not judge.judge(nested(depth, "1"), nested(depth, "2")).passed


def test_a_text_within_itself_a_million_times() -> None:
    judge = make_judge(Output(), "contains")
    assert judge.judge("a" * 100_000, "a" * 50_000).passed is False
    assert judge.judge("1" * 1000 + " 1", "1").passed is True


def test_a_confidence_that_no_float_holds_is_the_most_there_is() -> None:
    output = Output(json_schema=SCHEMA, confidence="sure")
    signals = with_stated_confidence(Signals(), {"sure": 10**400}, output)
    assert signals.extra["stated_confidence"] == 1.0


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (FITTING, True),
        ({**FITTING, "tags": ["x", "x"]}, False),
        ({**FITTING, "tags": ["x", "y"]}, False),
        ({**FITTING, "yy": "no"}, False),
        ({**FITTING, "other": 1}, False),
        ({**FITTING, "more": {}}, False),
        ({"label": "a", "tags": []}, True),
    ],
)
def test_schemas_mean_what_they_meant(value: Any, fits: bool) -> None:
    judgement = make_judge(Output(json_schema=SCHEMA), None).judge(json.dumps(value), None)
    assert judgement.has_value is fits


@pytest.mark.parametrize(
    ("value", "fits"),
    [([1, True], True), ([1, 1.0], False), ([{"a": 1}, {"a": 2}], True), ([[1], [1.0]], False)],
)
def test_unique_items(value: Any, fits: bool) -> None:
    judgement = make_judge(Output(json_schema={"uniqueItems": True}), None).judge(
        json.dumps(value), None
    )
    assert judgement.has_value is fits
