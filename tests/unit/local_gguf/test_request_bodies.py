"""What a local tier's server is asked, as the bytes say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers

PROMPT = Prompt([{"role": "user", "content": "Up or down?"}])
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def body_of(output: Output, **tier: Any) -> dict[str, Any]:
    made = Tier(name="t", api="local", model="smollm2-135m-instruct", **tier)
    body: dict[str, Any] = json.loads(Providers().request_body(made, PROMPT, output))
    return body


def test_choices_are_held_to_in_either_case_with_or_without_a_space() -> None:
    grammar = body_of(Output(choices=("up", "Not sure")))["grammar"]
    alternatives = grammar.partition("(")[2].rstrip(")").split(" | ")
    assert grammar.startswith('root ::= " "? (')
    assert sorted(alternatives) == ['"Not sure"', '"Up"', '"not sure"', '"up"']


def test_quotes_and_backslashes_in_choices_are_escaped() -> None:
    grammar = body_of(Output(choices=('say "a"', "b\\c")))["grammar"]
    assert '"say \\"a\\""' in grammar
    assert '"b\\\\c"' in grammar


def test_a_schema_is_held_to_on_both_endpoints() -> None:
    output = Output(schema=SCHEMA)
    assert body_of(output, endpoint="completions")["json_schema"] == SCHEMA
    assert body_of(output)["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "own", [{"params": {"grammar": "root ::= [0-9]"}}, {"response_format": False}]
)
def test_a_tier_may_have_a_grammar_of_its_own_or_none(own: dict[str, Any]) -> None:
    body = body_of(Output(choices=("up", "down")), **own)
    assert body.get("grammar") == own.get("params", {}).get("grammar")


def test_the_likeliest_answer_is_asked_for_unless_the_tier_says_otherwise() -> None:
    assert body_of(Output())["temperature"] == 0
    assert body_of(Output(), params={"temperature": 0.7})["temperature"] == 0.7


def test_enough_alternatives_are_listed_to_find_every_label() -> None:
    assert body_of(Output(), logprobs=True)["top_logprobs"] == 40
    assert body_of(Output(), logprobs=True, endpoint="completions")["logprobs"] == 40
    assert "logprobs" not in body_of(Output())


def test_the_answer_is_bounded_whatever_the_params_say() -> None:
    assert body_of(Output(), max_output_tokens=7)["max_tokens"] == 7
