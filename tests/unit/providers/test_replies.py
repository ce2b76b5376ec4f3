"""Reading answers: what servers really send, and what can't be believed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.answer import Reply
from cascade_batch.domain.money import Usage
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.anthropic import AnthropicWire
from cascade_batch.providers.openai import OpenAIWire
from cascade_batch.providers.reading import UnreadableError, parse_json

CHAT = OpenAIWire(Tier(name="t", model="m"))
COMPLETIONS = OpenAIWire(Tier(name="t", model="m", endpoint="completions"))
ANTHROPIC = AnthropicWire(Tier(name="t", model="m", api="anthropic"))


def chat(message: Any = None, *, usage: Any = None, **choice: Any) -> Reply:
    message = {"content": "up"} if message is None else message
    choice = {"finish_reason": "stop", "message": message} | choice
    return CHAT.reply({"choices": [choice], "usage": usage}, 1.0)


def usage_of(**usage: Any) -> Usage | None:
    return chat(usage=usage).usage


@pytest.mark.parametrize(
    ("usage", "output_tokens"),
    [
        # OpenAI: reasoning is a part of the completion.
        ({"completion_tokens": 90, "total_tokens": 100, "reasoning_tokens": 80}, 90),
        # xAI and Gemini's compatible endpoint: it is not.
        ({"completion_tokens": 9, "total_tokens": 99, "reasoning_tokens": 80}, 89),
        ({"completion_tokens": 90, "total_tokens": 180, "reasoning_tokens": 80}, 170),
        # Nor is it named, or there is no total.
        ({"completion_tokens": 9, "total_tokens": 99}, 89),
        ({"completion_tokens": 9, "reasoning_tokens": 80}, 89),
        # A total that is too small is not believed.
        ({"completion_tokens": 9, "total_tokens": 0}, 9),
        ({"completion_tokens": 9, "total_tokens": "99"}, 9),
    ],
)
def test_reasoning_is_never_left_out(usage: dict[str, Any], output_tokens: int) -> None:
    reasoning = usage.pop("reasoning_tokens", None)
    details = {} if reasoning is None else {"reasoning_tokens": reasoning}
    found = usage_of(prompt_tokens=10, completion_tokens_details=details, **usage)
    assert found is not None
    assert found.output_tokens == output_tokens
    assert found.reasoning_tokens == (reasoning or 0)


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 7}},
        {"prompt_cache_hit_tokens": 7},
        {"prompt_tokens_details": None, "prompt_cache_hit_tokens": 7},
    ],
)
def test_cached_input_in_each_providers_words(details: dict[str, Any]) -> None:
    found = usage_of(prompt_tokens=10, completion_tokens=1, **details)
    assert found is not None
    assert found.cached_input_tokens == 7


def test_more_cached_than_there_was_is_cut() -> None:
    details = {"cached_tokens": 70, "cache_write_tokens": 70}
    found = usage_of(prompt_tokens=10, completion_tokens=1, prompt_tokens_details=details)
    assert found == Usage(input_tokens=10, output_tokens=1, cached_input_tokens=10)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "none",
        {},
        {"prompt_tokens": 10},
        {"completion_tokens": 10},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 10, "completion_tokens": 0},
        {"prompt_tokens": -10, "completion_tokens": 5},
        {"prompt_tokens": 10.5, "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 10**30, "completion_tokens": 5},
        {"prompt_tokens": "10", "completion_tokens": "5"},
    ],
)
def test_usage_that_can_not_be_is_as_good_as_none(usage: Any) -> None:
    reply = chat(usage=usage)
    assert reply.text == "up"
    assert reply.usage is None


def test_an_empty_answer_may_have_no_output() -> None:
    reply = chat({"content": None}, usage={"prompt_tokens": 9, "completion_tokens": 0})
    assert reply.text == ""
    assert reply.usage == Usage(input_tokens=9, output_tokens=0)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "up"}, "up"),
        ({"content": ""}, ""),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": [{"type": "text", "text": "u"}, {"type": "text", "text": "p"}]}, "up"),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "up"}]}, "up"),
        ({"content": "up", "reasoning_content": "hm"}, "up"),
    ],
)
def test_text_in_each_providers_form(message: Any, text: str) -> None:
    assert chat(message).text == text


@pytest.mark.parametrize(
    ("finish_reason", "read"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("eos", "stop"),
        ("max_tokens", "length"),
        (None, None),
        ("something_new", "something_new"),
    ],
)
def test_finish_reasons_are_in_openais_words(finish_reason: str | None, read: str | None) -> None:
    assert chat(finish_reason=finish_reason).finish_reason == read


def test_text_that_no_database_holds_is_made_to_fit() -> None:
    reply = chat({"content": "u\0p\ud800"}, finish_reason={"odd": 1})
    assert reply.text == "u\ufffdp?"
    assert reply.finish_reason is None
    tops = [{"token": "\0", "logprob": -1.0}]
    tokens = [{"token": "up", "logprob": -0.1, "top_logprobs": tops}]
    assert chat(logprobs={"content": tokens}).top_logprobs == {"\ufffd": -1.0, "up": -0.1}
    assert anthropic(content=[{"type": "text", "text": "u\0p"}]).text == "u\ufffdp"


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        None,
        "up",
        {"choices": []},
        {"choices": None, "error": {"message": "broke"}},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {}}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "error"}]},
        {"choices": [{"message": {"content": "u"}, "error": {"message": "upstream"}}]},
        {"choices": [{"delta": {"content": "up"}}]},
    ],
)
def test_a_document_without_an_answer_is_not_taken_for_an_empty_one(document: Any) -> None:
    with pytest.raises((UnreadableError, AttributeError, LookupError, TypeError)):
        CHAT.reply(document, 1.0)


def test_log_probabilities_of_chat() -> None:
    tokens = [
        {"token": "up", "logprob": -0.1, "top_logprobs": [{"token": "down", "logprob": -3}]},
        {"token": "!", "logprob": 0, "top_logprobs": []},
    ]
    reply = chat(logprobs={"content": tokens})
    assert reply.logprobs == (-0.1, 0)
    assert reply.top_logprobs == {"down": -3, "up": -0.1}


@pytest.mark.parametrize(
    ("logprobs", "values", "top"),
    [
        (
            {"token_logprobs": [-0.5, -1.5], "top_logprobs": [{" up": -0.5, " no": -2.0}, {}]},
            (-0.5, -1.5),
            {" up": -0.5, " no": -2.0},
        ),
        ({"token_logprobs": [-0.5], "top_logprobs": None}, (-0.5,), None),
        # llama.cpp answers in chat's form.
        ({"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}]}, (-0.5,), None),
        ({"token_logprobs": [None, -1.0]}, None, None),
        ({"token_logprobs": []}, None, None),
        (None, None, None),
    ],
)
def test_log_probabilities_of_completions(logprobs: Any, values: Any, top: Any) -> None:
    choice = {"text": "up!", "finish_reason": "stop", "logprobs": logprobs}
    reply = COMPLETIONS.reply({"choices": [choice]}, 1.0)
    assert reply.text == "up!"
    assert reply.logprobs == values
    assert reply.top_logprobs == top


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": ["up"]},
        {"content": [{"token": "up", "logprob": None}]},
        {"content": [{"token": "up", "logprob": 5.0}]},
        {"content": [{"token": "up", "logprob": float("-inf")}]},
        {"content": [{"token": "up", "logprob": float("nan")}]},
        {"content": None},
        {"content": []},
        {"token_logprobs": 3},
        [1],
        "x",
    ],
)
def test_odd_log_probabilities_cost_nothing_but_themselves(logprobs: Any) -> None:
    reply = chat(logprobs=logprobs)
    assert reply.text == "up"
    assert reply.logprobs is None


def anthropic(**document: Any) -> Reply:
    whole = {"type": "message", "content": [{"type": "text", "text": "up"}]} | document
    return ANTHROPIC.reply(whole, 1.0)


def test_anthropics_input_includes_what_was_cached_and_written() -> None:
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 8,
        "output_tokens_details": {"thinking_tokens": 6},
    }
    assert anthropic(usage=usage).usage == Usage(
        input_tokens=125,
        output_tokens=8,
        cached_input_tokens=100,
        cache_write_tokens=20,
        reasoning_tokens=6,
    )


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": 5},
        {"output_tokens": 5},
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 5, "output_tokens": 0},
        {"input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": -1},
    ],
)
def test_anthropics_usage_that_can_not_be(usage: Any) -> None:
    assert anthropic(usage=usage).usage is None


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "refusal"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("model_context_window_exceeded", "length", False),
        ("refusal", "content_filter", True),
        (None, None, False),
    ],
)
def test_anthropics_stop_reasons(
    stop_reason: str | None, finish_reason: str | None, refusal: bool
) -> None:
    reply = anthropic(stop_reason=stop_reason)
    assert reply.finish_reason == finish_reason
    assert reply.refusal is refusal


def test_anthropics_thinking_is_no_part_of_the_text() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "u"},
        {"type": "text", "text": "p"},
    ]
    assert anthropic(content=content).text == "up"


@pytest.mark.parametrize("document", [{}, {"type": "error", "error": {"message": "broke"}}])
def test_anthropics_document_without_an_answer(document: Any) -> None:
    with pytest.raises(UnreadableError):
        ANTHROPIC.reply(document, 1.0)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{"a": -Infinity}', {"a": float("-inf")}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_json_and_what_python_servers_take_for_it(body: bytes, value: Any) -> None:
    assert parse_json(body) == value


@given(st.binary(max_size=200))
def test_whatever_is_no_json_is_unreadable(body: bytes) -> None:
    with contextlib.suppress(UnreadableError):
        parse_json(body)


def test_json_without_end_in_depth_is_unreadable() -> None:
    with pytest.raises(UnreadableError):
        parse_json(b"[" * 100_000)
