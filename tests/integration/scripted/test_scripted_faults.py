"""Every fault over real HTTP: what the client meets, and whether it is on the bill."""

import asyncio

import orjson
import pytest

from cascade_batch.providers.scripted import (
    FaultKind,
    ScriptedProvider,
    script_from,
    spawn_provider,
)

ANSWER_NANOUSD = 1 * 1000 + 4 * 2000
"""One input token at 1 USD and four output tokens at 2 USD per million."""


def served(*faults, **model):
    answers = [{"text": "yes, up!", "input_tokens": 1, "output_tokens": 4, "logprob": -1}]
    return ScriptedProvider(
        script_from(
            {
                "models": {"m": {"price": {"input": 1, "output": 2}, "answers": answers, **model}},
                "faults": faults,
            }
        )
    )


async def meet(client, fault, **params):
    """The fault as seen, and the provider's bill after it and after one good call."""
    async with served({**fault, "nth": 1}) as provider:
        seen = await client.chat(provider, **params)
        bill = provider.bill()
        assert bill["calls_total"] == 1
        assert bill["models"]["m"]["faults"] == {fault["kind"]: 1}
        assert provider.log()[0]["fault"] == fault["kind"]
        assert provider.log()[0]["billed_nanousd"] == bill["total_nanousd"]
        assert (await client.chat(provider)).text == "yes, up!", "the next call is well"
        assert provider.bill()["models"]["m"]["in_flight"] == 0
        return seen, bill


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "rate_limit"}, 429, "rate_limit_error"),
        ({"kind": "server_error"}, 500, "server_error"),
        ({"kind": "server_error", "status": 503}, 503, "server_error"),
        ({"kind": "server_error", "status": 529}, 529, "overloaded_error"),
        ({"kind": "bad_request"}, 400, "invalid_request_error"),
        ({"kind": "bad_request", "status": 422}, 422, "invalid_request_error"),
        ({"kind": "unauthorized"}, 401, "authentication_error"),
        ({"kind": "unauthorized", "status": 403}, 403, "permission_error"),
        ({"kind": "not_found"}, 404, "not_found_error"),
        ({"kind": "redirect"}, 307, "redirected"),
    ],
)
async def test_a_complete_refusal_is_free(client, fault, status, code):
    seen, bill = await meet(client, fault)
    assert seen.status == status
    assert seen.json()["error"]["code"] == code
    assert bill["total_nanousd"] == 0
    assert (bill["calls_billed"], bill["calls_refused"]) == (0, 1)


async def test_a_refusal_may_say_when_to_come_back(client):
    seen, _ = await meet(client, {"kind": "rate_limit", "retry_after_s": 1.2})
    assert seen.headers["retry-after"] == "2"
    assert seen.headers["retry-after-ms"] == "1200"


async def test_whoever_follows_a_redirect_shows_up(client):
    async with served({"kind": "redirect"}) as provider:
        url = f"{provider.url}/chat/completions"
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        async with client.session.post(url, json=body, allow_redirects=True) as answer:
            assert answer.status == 404
        assert provider.bill()["not_routed"] == 1
    seen, _ = await meet(client, {"kind": "redirect", "location": "http://other.test/v1"})
    assert seen.headers["location"] == "http://other.test/v1"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("reset", None), ("reset_after_headers", 200), ("cut_body", 200)],
)
async def test_a_broken_answer_is_billed(client, kind, status):
    seen, bill = await meet(client, {"kind": kind})
    assert seen.broke
    assert seen.status == status
    assert bill["total_nanousd"] == ANSWER_NANOUSD
    assert bill["models"]["m"]["answered"] == 0


async def test_a_reset_is_a_reset():
    async with served({"kind": "reset"}) as provider:
        host, port = provider.root_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_hang_lasts_until_the_client_leaves_and_is_billed_to_the_limit(client):
    async with served({"kind": "hang"}) as provider:
        url = f"{provider.url}/chat/completions"
        body = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
        waiting = asyncio.create_task(client.post(url, body))
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 1)
        assert provider.bill()["total_nanousd"] == 1000 + 50 * 2000
        assert provider.log()[0]["status"] is None
        waiting.cancel()
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 0)
        assert provider.bill()["models"]["m"]["answered"] == 0
        assert provider.bill()["total_nanousd"] == 1000 + 50 * 2000


async def test_a_truncated_answer_used_all_its_tokens(client):
    seen, bill = await meet(client, {"kind": "truncated_answer"}, max_tokens=10)
    choice = seen.json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "yes,")
    assert seen.json()["usage"]["completion_tokens"] == 10
    assert bill["total_nanousd"] == 1000 + 10 * 2000


async def test_wrong_usage_is_reported_and_billed(client):
    seen, bill = await meet(client, {"kind": "wrong_usage", "factor": 2.5}, max_tokens=4)
    usage = seen.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 10)
    assert bill["total_nanousd"] == 3 * 1000 + 10 * 2000


async def test_no_usage(client):
    seen, bill = await meet(client, {"kind": "no_usage"})
    assert seen.text == "yes, up!"
    assert "usage" not in seen.json()
    assert bill["total_nanousd"] == ANSWER_NANOUSD


async def test_a_web_page_with_status_200(client):
    seen, bill = await meet(client, {"kind": "html_200"})
    assert seen.status == 200
    assert seen.headers["content-type"] == "text/html"
    assert seen.body.startswith(b"<!doctype html>")
    assert bill["total_nanousd"] == ANSWER_NANOUSD
    assert bill["models"]["m"]["answered"] == 0


async def test_an_error_with_status_200(client):
    seen, bill = await meet(client, {"kind": "error_200"})
    assert seen.status == 200
    assert "message" in seen.json()["error"]
    assert bill["total_nanousd"] == ANSWER_NANOUSD


@pytest.mark.parametrize(
    ("kind", "reason"), [("empty_answer", "stop"), ("content_filter", "content_filter")]
)
async def test_an_empty_text_at_the_full_price(client, kind, reason):
    seen, bill = await meet(client, {"kind": kind}, logprobs=True)
    choice = seen.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", reason)
    assert bill["total_nanousd"] == ANSWER_NANOUSD
    assert bill["models"]["m"]["answered"] == 1


async def test_a_refusal_of_the_model(client):
    seen, bill = await meet(client, {"kind": "refusal"})
    message = seen.json()["choices"][0]["message"]
    assert message["content"] is None
    assert "can't help" in message["refusal"]
    assert bill["calls_billed"] == 1


async def test_a_slow_drip_arrives_whole(client):
    seen, bill = await meet(client, {"kind": "slow_drip", "duration_s": 0.05})
    assert seen.text == "yes, up!"
    assert bill["total_nanousd"] == ANSWER_NANOUSD
    assert bill["models"]["m"]["answered"] == 1


async def test_a_huge_body_is_as_big_as_told_and_still_an_answer(client):
    seen, bill = await meet(client, {"kind": "huge_body", "bytes": 5_000_000})
    assert len(seen.body) == 5_000_000
    assert seen.text == "yes, up!"
    assert bill["total_nanousd"] == ANSWER_NANOUSD


@pytest.mark.parametrize(
    ("fault", "billed_nanousd"),
    [
        ({"kind": "server_error", "billed": True}, ANSWER_NANOUSD),
        ({"kind": "cut_body", "billed": False}, 0),
        ({"kind": "empty_answer", "billed": False}, 0),
    ],
)
async def test_a_script_may_decide_what_is_billed(client, fault, billed_nanousd):
    _, bill = await meet(client, fault)
    assert bill["total_nanousd"] == billed_nanousd
    assert bill["calls_billed"] == bool(billed_nanousd)


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_every_fault_in_anthropic_words(client, kind):
    fault = {"kind": kind, "factor": 2} if kind is FaultKind.WRONG_USAGE else {"kind": kind}
    if kind is FaultKind.SLOW_DRIP:
        fault["duration_s"] = 0.01
    if kind is FaultKind.HUGE_BODY:
        fault["bytes"] = 100_000
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    async with served(fault) as provider:
        patience_s = 0.2 if kind is FaultKind.HANG else 30
        seen = await client.post(f"{provider.url}/messages", body, patience_s)
        assert provider.bill()["models"]["m"]["faults"] == {kind: 1}
        if seen.broke:
            assert kind in {"hang", "reset", "reset_after_headers", "cut_body"}
        elif seen.status != 200 or kind is FaultKind.ERROR_200:
            assert seen.json()["type"] == "error"
        elif kind is not FaultKind.HTML_200:
            answer = seen.json()
            assert answer["type"] == "message"
            expected = {"truncated_answer": "max_tokens", "content_filter": "refusal"}
            expected["refusal"] = "refusal"
            assert answer["stop_reason"] == expected.get(kind, "end_turn")
            assert ("usage" in answer) == (kind is not FaultKind.NO_USAGE)


async def test_a_fault_may_take_its_time_and_a_window_may_not_have_begun(client):
    faults = [
        {"kind": "hang", "after_s": 3600},
        {"kind": "server_error", "latency_ms": 1, "match": "slow"},
    ]
    async with served(*faults, latency_ms=1) as provider:
        assert (await client.chat(provider, "slow")).status == 500
        assert (await client.chat(provider, "well")).status == 200


async def test_connections_break_in_a_process_of_its_own_too(client, tmp_path):
    kinds = ["reset", "reset_after_headers", "cut_body", "slow_drip", "huge_body"]
    faults = [
        {"kind": kind, "nth": number, **({"duration_s": 0.01} if kind == "slow_drip" else {})}
        for number, kind in enumerate(kinds, start=1)
    ]
    content = {"models": {"m": {"echo": True, "price": {"output": 1}}}, "faults": faults}
    (tmp_path / "script.json").write_bytes(orjson.dumps(content))
    with spawn_provider(tmp_path / "script.json") as provider:
        seen = [await client.chat(provider) for _ in kinds]
        bill = await asyncio.to_thread(provider.bill)
    assert [each.status for each in seen] == [None, 200, 200, 200, 200]
    assert [bool(each.broke) for each in seen] == [True, True, True, False, False]
    assert len(seen[-1].body) == 64 * 2**20
    assert bill["calls_billed"] == 5
    assert bill["models"]["m"]["faults"] == dict.fromkeys(kinds, 1)
    assert bill["models"]["m"]["answered"] == 2
