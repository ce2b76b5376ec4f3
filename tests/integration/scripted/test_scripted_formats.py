"""Requests and answers in the three formats, over real HTTP."""

import math

import orjson
import pytest

from cascade_batch.providers.scripted import ScriptedProvider, script_from

PRICE = {"input": 1, "output": 2, "cached_input": "0.5"}
RULE = {"text": "up", "logprob": -0.5, "top_logprobs": {"down": -1.2, "none": -2.5}}


def served(rule=None, **model):
    answers = [{**RULE, **(rule or {})}]
    return ScriptedProvider(
        script_from({"models": {"m": {"price": PRICE, "answers": answers, **model}}})
    )


async def test_chat(client):
    async with served({"input_tokens": 9}, reasoning_tokens=5, cached_input_tokens=4) as provider:
        seen = await client.chat(provider, logprobs=True, top_logprobs=2)
        answer = seen.json()
        choice = answer["choices"][0]
        assert choice["message"] == {"role": "assistant", "content": "up", "refusal": None}
        assert choice["finish_reason"] == "stop"
        (token,) = choice["logprobs"]["content"]
        assert (token["token"], token["logprob"], token["bytes"]) == ("up", -0.5, [117, 112])
        assert [(t["token"], t["logprob"]) for t in token["top_logprobs"]] == [
            ("up", -0.5),
            ("down", -1.2),
        ]
        assert answer["usage"] == {
            "prompt_tokens": 9,
            "completion_tokens": 6,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 5},
        }
        assert provider.bill()["total_nanousd"] == 5 * 1000 + 4 * 500 + 6 * 2000


async def test_completions(client):
    async with served({"output_tokens": 2}) as provider:
        body = {"model": "m", "prompt": "Gold?", "logprobs": 1}
        answer = (await client.post(f"{provider.url}/completions", body)).json()
        assert answer["object"] == "text_completion"
        choice = answer["choices"][0]
        assert choice["text"] == "up"
        assert choice["logprobs"]["tokens"] == ["u", "p"]
        assert math.fsum(choice["logprobs"]["token_logprobs"]) == -0.5
        assert choice["logprobs"]["text_offset"] == [0, 1]
        assert answer["usage"]["completion_tokens"] == 2


async def test_one_token_completions_have_alternatives(client):
    async with served() as provider:
        body = {"model": "m", "prompt": ["Gold?"], "logprobs": 5}
        answer = (await client.post(f"{provider.url}/completions", body)).json()
        assert answer["choices"][0]["logprobs"]["top_logprobs"] == [
            {"up": -0.5, "down": -1.2, "none": -2.5}
        ]


async def test_anthropic_messages(client):
    async with served({"input_tokens": 9}, cached_input_tokens=4) as provider:
        body = {
            "model": "m",
            "max_tokens": 8,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Gold?"}]}],
        }
        answer = (await client.post(f"{provider.url}/messages", body)).json()
        assert answer["content"] == [{"type": "text", "text": "up"}]
        assert answer["stop_reason"] == "end_turn"
        assert answer["usage"] == {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 1,
        }
        assert provider.bill()["models"]["m"]["input_tokens"] == 9


async def test_long_answers_have_one_logprob_per_token_that_add_up(client):
    async with served({"text": "a longer answer", "output_tokens": 6}) as provider:
        answer = (await client.chat(provider, logprobs=True, top_logprobs=3)).json()
        content = answer["choices"][0]["logprobs"]["content"]
        assert len(content) == 6
        assert "".join(token["token"] for token in content) == "a longer answer"
        assert math.isclose(math.fsum(token["logprob"] for token in content), -0.5)


@pytest.mark.parametrize("model", [{"logprobs": False}, {}])
async def test_logprobs_only_where_asked_for_and_given(client, model):
    async with served(**model) as provider:
        asked = "logprobs" in model
        answer = (await client.chat(provider, logprobs=asked)).json()
        assert answer["choices"][0]["logprobs"] is None


async def test_output_ends_at_max_tokens(client):
    rule = {"text": "one two three four", "output_tokens": 4, "logprob": -4.0}
    async with served(rule, reasoning_tokens=1) as provider:
        for key in ("max_tokens", "max_completion_tokens"):
            answer = (await client.chat(provider, logprobs=True, **{key: 3})).json()
            choice = answer["choices"][0]
            assert choice["finish_reason"] == "length"
            assert "one two three four".startswith(choice["message"]["content"])
            assert len(choice["logprobs"]["content"]) == 2
            assert answer["usage"]["completion_tokens"] == 3
        answer = (await client.chat(provider, max_tokens=1)).json()
        assert answer["choices"][0]["message"]["content"] == ""
        assert answer["usage"]["completion_tokens"] == 1


async def test_a_schema_is_accepted_and_text_is_counted_by_its_bytes(client):
    async with served(text_rule := {"text": "äöü"}) as provider:
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
        seen = await client.chat(provider, "12345", response_format=schema)
        usage = seen.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (2, 2)
        assert seen.text == text_rule["text"]


async def test_a_part_that_is_no_text_costs_a_thousand_tokens(client):
    async with served() as provider:
        image = {"type": "image_url", "image_url": {"url": "data:,"}}
        messages = [{"role": "user", "content": [{"type": "text", "text": "1234"}, image]}]
        seen = await client.post(
            f"{provider.url}/chat/completions", {"model": "m", "messages": messages}
        )
        assert seen.json()["usage"]["prompt_tokens"] == 1001


async def test_echo_says_the_last_user_message(client):
    async with ScriptedProvider(script_from({"models": {"m": {"echo": True}}})) as provider:
        assert (await client.chat(provider, "Polly")).text == "Polly"
        messages = [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "last"},
        ]
        body = {"model": "m", "messages": messages}
        assert (await client.post(f"{provider.url}/chat/completions", body)).text == "last"


MESSAGES = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"{", 400, "no JSON"),
        ([], 400, "names a model"),
        ({"messages": MESSAGES}, 400, "names a model"),
        ({"model": "m"}, 400, "messages must be a list"),
        ({"model": "m", "messages": ["x"]}, 400, "role and content"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, 400, "a list of parts"),
        ({"model": "m", "messages": MESSAGES, "stream": True}, 400, "stream"),
        ({"model": "m", "messages": MESSAGES, "n": 2}, 400, "n must be 1"),
        ({"model": "m", "messages": MESSAGES, "max_tokens": 0}, 400, "max_tokens"),
        ({"model": "m", "messages": MESSAGES, "top_logprobs": "x"}, 400, "whole number"),
        ({"model": "k", "messages": MESSAGES}, 404, "No model is called 'k'"),
    ],
)
async def test_what_cannot_be_answered_is_refused_and_free(client, body, status, told):
    async with served() as provider:
        seen = await client.post(f"{provider.url}/chat/completions", body)
        assert seen.status == status
        assert told in seen.json()["error"]["message"]
        bill = provider.bill()
        assert (bill["calls_total"], bill["calls_refused"], bill["calls_unreadable"]) == (1, 1, 1)
        assert bill["total_nanousd"] == 0
        assert provider.log()[0]["status"] == status


async def test_anthropic_needs_max_tokens_and_gets_errors_in_its_own_words(client):
    async with served() as provider:
        seen = await client.post(f"{provider.url}/messages", {"model": "m", "messages": MESSAGES})
        assert seen.status == 400
        assert seen.json()["type"] == "error"
        assert seen.json()["error"]["type"] == "invalid_request_error"


async def test_a_prompt_without_an_answer_is_refused(client):
    script = {"models": {"m": {"answers": [{"match": "gold", "text": "up"}]}}}
    async with ScriptedProvider(script_from(script)) as provider:
        assert (await client.chat(provider, "gold")).text == "up"
        seen = await client.chat(provider, "silver")
        assert seen.status == 400
        assert "silver" in seen.json()["error"]["message"]
        assert provider.bill()["models"]["m"]["faults"] == {"unmatched": 1}


async def test_the_pages_beside_the_calls(client):
    async with served() as provider:
        for path, expected in (("/health", {"status": "ok"}), ("/v1/models", None)):
            async with client.session.get(provider.root_url + path) as answer:
                content = orjson.loads(await answer.read())
                assert expected is None or content == expected
        assert [model["id"] for model in content["data"]] == ["m"]
        async with client.session.get(f"{provider.url}/chat/completions") as answer:
            assert answer.status == 404
        assert provider.bill()["not_routed"] == 1
        assert provider.bill()["calls_total"] == 0
