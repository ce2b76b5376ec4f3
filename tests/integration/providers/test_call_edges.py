"""Faults and settings that only the loopback server can show, in every wire format."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from tests.integration.providers.conftest import KEY, MESSAGES, Caller
from tests.integration.providers.loopback import INPUT_TOKENS, LoopbackKind
from tests.integration.providers.scenes import Scene, Trouble


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.CUT_REFUSAL, "disconnected"),
        (Trouble.EMPTY_BODY, "unreadable"),
        (Trouble.ENDLESS_BODY, "unreadable"),
        (Trouble.GZIP_BOMB, "unreadable"),
        (Trouble.GZIP_CUT, "unreadable"),
        (Trouble.UNKNOWN_ENCODING, "unreadable"),
    ],
)
async def test_further_answers_that_nobody_can_read(
    caller: Caller, trouble: Trouble, reason: str
) -> None:
    async with LoopbackKind().serve(Scene(trouble)) as server:
        outcome = await caller.call(server.url)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == reason


async def test_a_packed_answer_is_read(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene(Trouble.GZIP)) as server:
        outcome = await caller.call(server.url)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"


async def test_numbers_that_json_lacks_cost_the_log_probabilities_not_the_answer(
    caller: Caller,
) -> None:
    async with LoopbackKind().serve(Scene(Trouble.NOT_A_NUMBER)) as server:
        outcome = await caller.call(server.url)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"
    assert outcome.reply.logprobs is None


async def test_a_server_that_refuses_before_it_has_read_the_request(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene(Trouble.EARLY_REFUSAL)) as server:
        tier = Tier(name="small", model="model", base_url=server.url, **caller.wire)
        messages = [{"role": "user", "content": "x" * 20_000_000}]
        body = caller.providers.request_body(tier, Prompt(messages), Output())
        outcome = await caller.providers.call(tier, body)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.ROW


async def test_a_client_that_gives_up_hangs_up(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene(Trouble.HANG)) as server:
        await caller.call(server.url, timeout_s=0.2)
        async with asyncio.timeout(20):
            await server.left.wait()


async def test_a_cancelled_call_is_cancelled(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene(Trouble.HANG)) as server:
        call = asyncio.create_task(caller.call(server.url))
        async with asyncio.timeout(20):
            await server.arrived.get()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.left.wait()


async def test_exact_usage(caller: Caller) -> None:
    scene = Scene(cached_input_tokens=30, reasoning_tokens=7, output_tokens=2)
    async with LoopbackKind().serve(scene) as server:
        outcome = await caller.call(server.url)
    assert isinstance(outcome, Answered)
    assert outcome.reply.usage == Usage(
        input_tokens=INPUT_TOKENS,
        output_tokens=9,
        cached_input_tokens=30,
        reasoning_tokens=7,
    )


async def test_what_is_sent(caller: Caller, wire: dict[str, Any]) -> None:
    async with LoopbackKind().serve(Scene()) as server:
        await caller.call(server.url, max_output_tokens=17, params={"temperature": 0})
        [body], [headers] = server.bodies, server.headers
    assert body["model"] == "model"
    assert body["max_tokens"] == 17
    assert body["temperature"] == 0
    assert headers["Content-Type"] == "application/json"
    if wire["api"] == "anthropic":
        assert headers["x-api-key"] == KEY
        assert headers["anthropic-version"] == "2023-06-01"
        assert body["system"] == "You label headlines."
        assert body["messages"] == MESSAGES[1:]
    else:
        assert headers["Authorization"] == f"Bearer {KEY}"
    if wire.get("endpoint") == "completions":
        assert body["prompt"] == "You label headlines.\nUp or down? Gold rises."
        assert body["logprobs"] == 5
    elif wire["api"] == "openai":
        assert body["messages"] == MESSAGES
        assert body["logprobs"] is True
        assert body["top_logprobs"] == 20


async def test_a_json_schema_is_sent_unless_the_tier_says_no(
    caller: Caller, wire: dict[str, Any]
) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["up", "down"]}},
        "required": ["label"],
    }
    output = Output(json_schema=schema)
    async with LoopbackKind().serve(Scene()) as server:
        for wanted in (True, False):
            tier = Tier(
                name="small", model="model", base_url=server.url, response_format=wanted, **wire
            )
            body = caller.providers.request_body(tier, Prompt(MESSAGES), output)
            assert isinstance(await caller.providers.call(tier, body), Answered)
        asked, not_asked = server.bodies
    closed = schema | {"additionalProperties": False}
    if wire["api"] == "anthropic":
        assert asked["output_config"] == {"format": {"type": "json_schema", "schema": closed}}
    elif wire.get("endpoint") != "completions":
        asked_schema = asked["response_format"]["json_schema"]
        assert asked_schema["schema"] == closed
        assert asked_schema["strict"] is True
    assert not {"response_format", "output_config"} & not_asked.keys()


# --- keys ---


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 529])
async def test_a_key_that_the_server_repeats_is_not_shown(caller: Caller, status: int) -> None:
    async with LoopbackKind().serve(Scene(Trouble.ECHO_KEY, status=status)) as server:
        outcome = await caller.call(server.url)
    assert isinstance(outcome, Refused | Unknown)
    assert KEY[:8] not in outcome.message
    assert len(outcome.message) <= 500


async def test_a_missing_key_names_tier_and_variable(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY")
    async with LoopbackKind().serve(Scene()) as server:
        outcome = await caller.call(server.url)
        assert server.calls() == 0
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER
    assert "small" in outcome.message
    assert "TEST_KEY" in outcome.message


async def test_a_key_that_no_header_can_hold_is_not_shown(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-first\r\nX-Second: line")
    async with LoopbackKind().serve(Scene()) as server:
        outcome = await caller.call(server.url)
        assert server.calls() == 0
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER
    assert "sk-first" not in outcome.message


async def test_a_server_without_a_key_gets_none(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene()) as server:
        await caller.call(server.url, api_key_env=None)
        [headers] = server.headers
    assert not {"Authorization", "x-api-key"} & headers.keys()


# --- connections that never came about: nothing was sent ---


async def test_a_refused_connection(caller: Caller) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        outcome = await caller.call(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.CONNECT


async def test_an_unknown_host(caller: Caller) -> None:
    outcome = await caller.call("http://no-such-host.invalid/v1", timeout_s=5)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.CONNECT


async def test_a_server_that_speaks_no_tls(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene()) as server:
        outcome = await caller.call(server.url.replace("http:", "https:"))
        assert server.calls() == 0
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.CONNECT


async def test_a_tls_handshake_without_end(caller: Caller) -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await caller.call(f"https://127.0.0.1:{port}/v1", timeout_s=0.3)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.CONNECT


async def test_an_address_that_is_none_stops_the_tier(caller: Caller) -> None:
    # One that only the client finds fault with; what is no address at all is refused with the tiers file.
    outcome = await caller.call("http://127.0.0.1\\99999/v1")
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER
    assert "99999" in outcome.message


# --- proxies ---


async def test_a_proxy_from_the_environment_is_used_and_its_password_not_shown(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LoopbackKind().serve(Scene()) as proxy:
        port = proxy.url.split(":")[2].split("/")[0]
        monkeypatch.setenv("http_proxy", f"http://user:pass-word@127.0.0.1:{port}")
        outcome = await caller.call("http://provider.invalid/v1")
        assert isinstance(outcome, Answered)
        [headers] = proxy.headers
    assert headers["Host"] == "provider.invalid"
    assert headers["Proxy-Authorization"].startswith("Basic ")
    monkeypatch.setenv("http_proxy", "http://user:pass-word@127.0.0.1:9")
    outcome = await caller.call("http://provider.invalid/v1")
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.CONNECT
    assert "pass-word" not in outcome.message


async def test_a_server_on_this_machine_is_reached_without_the_proxy(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with LoopbackKind().serve(Scene()) as server:
        assert isinstance(await caller.call(server.url), Answered)


# --- connections ---


async def test_calls_at_once_are_not_held_back(caller: Caller) -> None:
    """How many calls run at once is the gate's to decide, not the pool's."""
    async with LoopbackKind().serve(Scene(Trouble.HANG)) as server:
        calls = [asyncio.create_task(caller.call(server.url)) for _ in range(300)]
        async with asyncio.timeout(60):
            for _ in calls:
                await server.arrived.get()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("trouble", [Trouble.NONE, Trouble.GZIP, Trouble.BAD_REQUEST])
async def test_calls_one_after_another_share_a_connection(caller: Caller, trouble: Trouble) -> None:
    async with LoopbackKind().serve(Scene(trouble)) as server:
        for _ in range(20):
            await caller.call(server.url)
        assert server.calls() == 20
        assert len(server.peers) == 1


async def test_closed_providers_open_again(caller: Caller) -> None:
    async with LoopbackKind().serve(Scene()) as server:
        assert isinstance(await caller.call(server.url), Answered)
        await caller.providers.close()
        assert isinstance(await caller.call(server.url), Answered)
