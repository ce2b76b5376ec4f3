import copy
from typing import Any

import pytest

from cascade_batch.domain.row import Record
from cascade_batch.errors import CascadeError
from cascade_batch.prompts import FormGuard, PromptError, compile_prompt

USER = {"role": "user", "content": "why?"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}

plain = compile_prompt(system=None, template=None)


def failure(fields: dict[str, Any]) -> PromptError:
    with pytest.raises(PromptError) as raised:
        plain.prompt_for(fields)
    assert isinstance(raised.value, CascadeError)
    return raised.value


@pytest.mark.parametrize(
    ("fields", "form", "messages"),
    [
        ({"prompt": "why?"}, "prompt", [USER]),
        ({"messages": [USER]}, "messages", [USER]),
        ({"body": {"model": "x", "messages": [USER]}, "method": "POST"}, "body", [USER]),
        ({"prompt": "no", "messages": [USER]}, "messages", [USER]),
        ({"prompt": "no", "messages": ["no"], "body": {"messages": [USER]}}, "body", [USER]),
        ({"prompt": "why?", "messages": None, "body": None}, "prompt", [USER]),
        ({"prompt": "why?", "body": "some text"}, "prompt", [USER]),
        (
            {"prompt": "{{ not a template }}"},
            "prompt",
            [{**USER, "content": "{{ not a template }}"}],
        ),
    ],
)
def test_forms_in_their_order(
    fields: dict[str, Any], form: str, messages: list[dict[str, Any]]
) -> None:
    assert plain.form_of(fields) == form
    prompt = plain.prompt_for(fields)
    assert prompt.messages == messages
    assert prompt.text_only


def test_template_wins_and_sees_all_columns() -> None:
    maker = compile_prompt(
        system=None, template="{{ prompt }} {{ messages[0].content }} {{ body.x }}"
    )
    fields = {"prompt": "a", "messages": [USER], "body": {"x": 1, "messages": []}}
    assert maker.form_of(fields) == "template"
    assert maker.prompt_for(fields).messages == [{"role": "user", "content": "a why? 1"}]


def test_record_without_a_question_needs_a_template() -> None:
    error = failure({"Review Text": "a", "label": "b"})
    assert "a template is needed" in error.reason
    assert "'Review Text', 'label'" in error.reason
    assert "--prompt '… {{ label }}'" in (error.hint or "")
    assert "no columns" in failure({}).reason
    assert "template" in failure({"body": {"input": "x"}}).reason


def test_system_message_comes_first() -> None:
    maker = compile_prompt(system="You label {{ kind }}.", template="{{ q }}")
    assert maker.prompt_for({"kind": "news", "q": "x"}).messages == [
        {"role": "system", "content": "You label news."},
        {"role": "user", "content": "x"},
    ]
    with pytest.raises(PromptError, match="the system prompt, line 1: there is no column 'kind'"):
        maker.prompt_for({"q": "x"})


@pytest.mark.parametrize("role", ["system", "developer"])
def test_records_own_system_message_stays_alone(role: str) -> None:
    maker = compile_prompt(system="You label.", template=None)
    own = [{"role": role, "content": "Mine."}, USER]
    fields = {"messages": copy.deepcopy(own)}
    assert maker.prompt_for(fields).messages == own
    fields = {"messages": [USER]}
    assert maker.prompt_for(fields).messages == [{"role": "system", "content": "You label."}, USER]
    assert fields == {"messages": [USER]}
    prompt = maker.prompt_for({"prompt": "why?"})
    assert [message["role"] for message in prompt.messages] == ["system", "user"]


def test_system_message_that_is_empty_is_left_out() -> None:
    maker = compile_prompt(
        system="{% if kind %}You label {{ kind }}.{% endif %}", template="{{ q }}"
    )
    assert maker.prompt_for({"kind": "", "q": "x"}).messages == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("message", "text_only"),
    [
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, True),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
            },
            True,
        ),
        ({"role": "user", "content": [IMAGE]}, False),
        ({"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}, False),
        ({"role": "user", "content": [{"type": "of tomorrow", "text": "x"}]}, False),
        ({"role": "user", "content": "x", "name": "Ann"}, True),
        ({"role": "assistant", "content": "x", "audio": {"id": "audio_1"}}, False),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, True),
        ({"role": "tool", "content": "x", "tool_call_id": "1"}, True),
        ({"role": "developer", "content": "x"}, True),
    ],
)
def test_content_that_is_text(message: dict[str, Any], text_only: bool) -> None:
    for messages in ([message], [USER, message], [message, USER]):
        prompt = plain.prompt_for({"messages": messages})
        assert prompt.messages == messages
        assert prompt.text_only is text_only


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "empty list"),
        ("why?", "`messages` is not a list"),
        ({"role": "user", "content": "x"}, "`messages` is not a list"),
        (["why?"], "message 1 is not an object"),
        ([USER, None], "message 2 is not an object"),
        ([{"content": "x"}], "message 1 has no role"),
        ([{"role": "robot", "content": "x"}], "message 1 has the role 'robot'"),
        ([{"role": ["user"], "content": "x"}], "message 1 has the role"),
        ([{"role": "user"}], "message 1 has no content"),
        ([{"role": "user", "content": None}], "message 1 has no content"),
        ([{"role": "assistant", "content": None}], "message 1 has no content"),
        ([{"role": "user", "content": 5}], "content of another kind"),
        ([{"role": "user", "content": ["x"]}], "part 1 of message 1 is not an object"),
        ([{"role": "user", "content": [{"text": "x"}]}], "part 1 of message 1 is not an object"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 1 of message 1"),
        (
            [{"role": "user", "content": [IMAGE, {"type": "text", "text": 1}]}],
            "part 2 of message 1",
        ),
        ([{"role": "user", "content": " "}], "all messages are empty"),
        ([{"role": "user", "content": []}], "all messages are empty"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "all messages are empty"),
    ],
)
def test_messages_that_are_none(messages: object, reason: str) -> None:
    assert reason in failure({"messages": messages}).reason
    if messages is not None:
        assert reason in failure({"body": {"messages": messages}}).reason


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("", "empty"), (" \n", "empty"), (5, "not a text"), ([USER], "not a text")],
)
def test_prompts_that_are_none(prompt: object, reason: str) -> None:
    assert reason in failure({"prompt": prompt}).reason


def test_guard_names_the_line_that_set_the_form() -> None:
    guard = FormGuard(plain)
    guard.check(Record(None, 3, {"prompt": "a"}))
    guard.check(Record(None, 4, {"prompt": "b"}))
    with pytest.raises(PromptError) as raised:
        guard.check(Record(None, 9, {"messages": [USER]}))
    assert "`messages`" in raised.value.reason
    assert "the one in line 3 by its `prompt`" in raised.value.reason
    guard.check(Record(None, 10, {"prompt": "c"}))
    with pytest.raises(PromptError, match="template is needed"):
        guard.check(Record(None, 11, {"a": "c"}))


def test_guard_lets_a_template_see_anything() -> None:
    guard = FormGuard(compile_prompt(system=None, template="{{ q }}"))
    guard.check(Record(None, 1, {"prompt": "a"}))
    guard.check(Record(None, 2, {"messages": []}))
