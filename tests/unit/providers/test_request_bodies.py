"""Request bodies: what is sent, to whom, and that nothing can lift what bounds the cost."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError
from cascade_batch.providers import Providers, freeze_price

ASK = Prompt([{"role": "user", "content": "Up or down?"}])
FREE = Output()


def body_of(tier: Tier, prompt: Prompt = ASK, output: Output = FREE) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(Providers().request_body(tier, prompt, output))
    return body


def openai(**more: Any) -> Tier:
    return Tier(**{"name": "t", "model": "m", "base_url": "https://x.example/v1"} | more)


def anthropic(**more: Any) -> Tier:
    return Tier(name="t", model="claude", api="anthropic", **more)


@pytest.mark.parametrize(
    ("tier", "name"),
    [
        (Tier(name="t", model="m"), "max_completion_tokens"),
        (openai(base_url="https://eu.api.openai.com/v1"), "max_completion_tokens"),
        (openai(base_url="https://me.openai.azure.com/openai/v1"), "max_completion_tokens"),
        (openai(), "max_tokens"),
        (openai(base_url="http://localhost:11434/v1"), "max_tokens"),
        (openai(base_url="https://api.openai.com.evil.example/v1"), "max_tokens"),
        (openai(max_tokens_param="max_completion_tokens"), "max_completion_tokens"),
        (Tier(name="t", model="m", max_tokens_param="max_tokens"), "max_tokens"),
        (Tier(name="t", model="m", endpoint="completions"), "max_tokens"),
        (anthropic(), "max_tokens"),
    ],
)
def test_the_answers_length_is_bounded_in_the_servers_words(tier: Tier, name: str) -> None:
    body = body_of(tier.model_copy(update={"max_output_tokens": 77}))
    caps = {"max_tokens", "max_completion_tokens"}
    assert {key: body[key] for key in caps & body.keys()} == {name: 77}


@pytest.mark.parametrize("tier", [openai(), Tier(name="t", model="m"), anthropic()])
def test_no_param_can_lift_the_bound(tier: Tier) -> None:
    # What the tiers file refuses anyway, given behind its back.
    params = {"max_tokens": 10**6, "max_completion_tokens": 10**6, "temperature": 0.5}
    body = body_of(tier.model_copy(update={"params": params, "max_output_tokens": 5}))
    assert body["temperature"] == 0.5
    name = (
        "max_completion_tokens" if tier.url.startswith("https://api.openai.com") else "max_tokens"
    )
    assert body[name] == 5


def test_params_choose_how_many_alternatives_are_asked_for() -> None:
    assert body_of(openai(logprobs=True))["top_logprobs"] == 20
    assert body_of(openai(logprobs=True, params={"top_logprobs": 5}))["top_logprobs"] == 5
    assert "logprobs" not in body_of(openai())
    assert "logprobs" not in body_of(anthropic(logprobs=True))


def test_openais_standard_price_is_asked_for_by_name() -> None:
    openai_itself = Tier(name="t", model="m")
    assert body_of(openai_itself)["service_tier"] == "default"
    flex = openai_itself.model_copy(update={"params": {"service_tier": "flex"}})
    assert body_of(flex)["service_tier"] == "flex"
    assert "service_tier" not in body_of(openai())


def test_openrouter_is_kept_from_hosts_that_are_dearer_than_the_price() -> None:
    tier = openai(
        base_url="https://openrouter.ai/api/v1",
        price={"input": "0.15", "output": 2},
        params={"provider": {"only": ["x"], "max_price": {"prompt": 100}}},
    )
    assert body_of(freeze_price(tier))["provider"] == {
        "only": ["x"],
        "max_price": {"prompt": 0.15, "completion": 2.0},
    }


def test_system_text_is_lifted_out_for_anthropic() -> None:
    messages = [
        {"role": "system", "content": "One."},
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": "Three."},
        {"role": "assistant", "content": "Four"},
    ]
    body = body_of(anthropic(), Prompt(messages))
    assert body["system"] == "One.\n\nTwo."
    assert body["messages"] == messages[2:]
    assert "system" not in body_of(anthropic())


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (
            "data:image/png;base64,iVBO",
            {"type": "base64", "media_type": "image/png", "data": "iVBO"},
        ),
        ("https://x.example/a.png", {"type": "url", "url": "https://x.example/a.png"}),
    ],
)
def test_an_image_is_sent_in_anthropics_form(url: str, source: dict[str, str]) -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": parts}]
    [sent] = body_of(anthropic(), Prompt(messages, text_only=False))["messages"]
    assert sent["content"] == [parts[0], {"type": "image", "source": source}]
    [unchanged] = body_of(openai(), Prompt(messages, text_only=False))["messages"]
    assert unchanged["content"] == parts


@pytest.mark.parametrize("tier", [openai(), anthropic()])
def test_rows_can_not_ask_for_the_dearer_cache_writes(tier: Tier) -> None:
    marked = {"type": "text", "text": "See", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages = [
        {"role": "user", "content": [marked]},
        {"role": "user", "content": "x", "cache_control": {"type": "ephemeral"}},
    ]
    body = body_of(tier, Prompt(messages))
    assert b"cache_control" not in orjson.dumps(body)
    assert body["messages"][0]["content"] == [{"type": "text", "text": "See"}]
    asked = tier.model_copy(update={"params": {"cache_control": {"type": "ephemeral"}}})
    assert body_of(asked)["cache_control"] == {"type": "ephemeral"}


def test_completions_get_the_contents_as_one_text() -> None:
    messages = [
        {"role": "system", "content": "One."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "!"}],
        },
    ]
    assert body_of(openai(endpoint="completions"), Prompt(messages))["prompt"] == "One.\nTwo!"


def test_choices_and_patterns_change_nothing() -> None:
    plain = Providers().request_body(openai(), ASK, Output())
    assert plain == Providers().request_body(openai(), ASK, Output(choices=("up", "down")))
    assert plain == Providers().request_body(openai(), ASK, Output(pattern="u|d"))


def test_one_tier_with_several_outputs_in_turn() -> None:
    providers, tier = Providers(), openai()
    schema = Output(json_schema={"type": "object", "properties": {}})
    with_schema = providers.request_body(tier, ASK, schema)
    assert b"response_format" in with_schema
    assert b"response_format" not in providers.request_body(tier, ASK, FREE)
    assert providers.request_body(tier, ASK, schema) == with_schema


def test_a_tier_read_again_and_again_does_not_pile_up_or_mix() -> None:
    providers = Providers()
    for number in range(1_000):
        tier = openai(model=f"model-{number}")
        assert orjson.loads(providers.request_body(tier, ASK, FREE))["model"] == f"model-{number}"


@pytest.mark.parametrize(
    "tier", [openai(), anthropic(), Tier(name="t", api="python", function="a.b")]
)
def test_what_json_has_no_word_for_is_an_error_that_says_so(tier: Tier) -> None:
    broken = Prompt([{"role": "user", "content": "\ud800"}])
    with pytest.raises(UsageError, match="can't be written as JSON"):
        Providers().request_body(tier, broken, FREE)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_is(text: str) -> None:
    prompt = Prompt([{"role": "user", "content": text}])
    for tier in (openai(), anthropic()):
        assert body_of(tier, prompt)["messages"][-1]["content"] == text
    assert body_of(openai(endpoint="completions"), prompt)["prompt"] == text
