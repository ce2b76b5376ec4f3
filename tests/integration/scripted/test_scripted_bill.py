"""The bill: agrees with the log, repeats, survives clients that leave, and counts who pays twice."""

import asyncio
import collections
import os
import signal
import subprocess
import sys
from decimal import ROUND_CEILING, Decimal

import orjson
import pytest
from click.testing import CliRunner

from cascade_batch.cli.provider import provider as provider_command
from cascade_batch.errors import ServiceUnreachableError, UsageError
from cascade_batch.providers.scripted import (
    ScriptedProvider,
    load_script,
    script_from,
    spawn_provider,
)

PRICES = {
    "cheap": {"input": "0.0375", "output": "0.15"},
    "dear": {"input": "2.5", "output": "10", "call": "0.000001"},
}
FAULTS = [
    {"kind": "rate_limit", "probability": 0.1},
    {"kind": "reset", "probability": 0.05},
    {"kind": "wrong_usage", "factor": 3, "probability": 0.05},
    {"kind": "cut_body", "every": 17},
    {"kind": "bad_request", "match": "prompt 7 "},
]


def script(**more):
    models = {name: {"price": price, "echo": True} for name, price in PRICES.items()}
    return {"models": models, "faults": FAULTS, "seed": 3, **more}


def prompt(number):
    return f"prompt {number} " + "x" * (number % 23)


async def many_calls(client, provider, count=300):
    for number in range(count):
        await client.chat(provider, prompt(number % 200), ("cheap", "dear")[number % 3 == 0])


def priced_nanousd(entry):
    """The price of a logged call, in decimals."""
    price = {"call": 0, **PRICES[entry["model"]]}
    usd = (
        Decimal(price["input"]) * entry["input_tokens"]
        + Decimal(price["output"]) * entry["output_tokens"]
    ) / 10**6 + Decimal(price["call"])
    return int((usd * 10**9).to_integral_value(ROUND_CEILING))


async def test_the_bill_is_the_sum_over_the_log(client, tmp_path):
    log_file = tmp_path / "calls.jsonl"
    async with ScriptedProvider(
        script_from(script(log="calls.jsonl"), folder=tmp_path)
    ) as provider:
        await many_calls(client, provider)
        bill = provider.bill()
        entries = provider.log()
    assert [orjson.loads(line) for line in log_file.read_bytes().splitlines()] == entries
    assert [entry["seq"] for entry in entries] == list(range(1, 301))

    billed = [entry for entry in entries if entry["input_tokens"]]
    assert all(entry["billed_nanousd"] == priced_nanousd(entry) for entry in billed)
    assert bill["total_nanousd"] == sum(map(priced_nanousd, billed))
    assert bill["calls_billed"] == len(billed)
    assert bill["calls_refused"] == 300 - len(billed)
    paid = collections.Counter((entry["model"], entry["prompt"]) for entry in billed)
    assert bill["duplicates"] == sum(times - 1 for times in paid.values()) > 0
    for name, part in bill["models"].items():
        own = [entry for entry in entries if entry["model"] == name]
        assert part["calls"] == len(own)
        assert part["nanousd"] == sum(entry["billed_nanousd"] for entry in own)
        assert part["output_tokens"] == sum(entry["output_tokens"] for entry in own)
        assert part["faults"] == collections.Counter(e["fault"] for e in own if e["fault"])


async def test_the_same_calls_in_the_same_order_give_the_same_bill(client):
    async with ScriptedProvider(script_from(script())) as provider:
        await many_calls(client, provider)
        first = provider.bill()
        async with client.session.post(f"{provider.root_url}/bill/reset") as answer:
            assert orjson.loads(await answer.read())["calls_total"] == 0
        await many_calls(client, provider)
        assert provider.bill() == first
        async with client.session.get(f"{provider.root_url}/bill") as answer:
            assert orjson.loads(await answer.read()) == first
    async with ScriptedProvider(script_from({**script(), "seed": 4})) as provider:
        await many_calls(client, provider)
        assert provider.bill() != first


async def test_a_client_that_leaves_is_billed_all_the_same(client):
    models = {"m": {"price": {"output": 1}, "latency_ms": 3_600_000, "echo": True}}
    async with ScriptedProvider(script_from({"models": models})) as provider:
        calls = [asyncio.create_task(client.chat(provider, f"{n}")) for n in range(5)]
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 5)
        charged = provider.bill()["total_nanousd"]
        for call in calls:
            call.cancel()
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 0)
        bill = provider.bill()
        assert bill["total_nanousd"] == charged == 5 * 1000
        assert bill["calls_billed"] == 5
        assert bill["models"]["m"]["answered"] == 0
        assert bill["models"]["m"]["max_in_flight"] == 5


async def test_a_request_that_never_arrived_whole_is_no_call(client):
    async with ScriptedProvider(script_from(script())) as provider:
        host, port = provider.root_url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await client.chat(provider, model="cheap")
        assert provider.bill()["calls_total"] == 1


async def test_a_reset_during_a_call_leaves_the_new_bill_alone(client):
    models = {"m": {"price": {"output": 1}, "latency_ms": 3_600_000, "echo": True}}
    async with ScriptedProvider(script_from({"models": models})) as provider:
        call = asyncio.create_task(client.chat(provider))
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 1)
        provider.reset()
        assert provider.bill()["models"]["m"]["in_flight"] == 1
        call.cancel()
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 0)
        assert provider.bill()["calls_total"] == 0


@pytest.mark.parametrize(("limits", "admitted"), [({"rpm": 3}, 3), ({"tpm": 30}, 2)])
async def test_limits_per_minute_are_enforced_and_free_beyond(client, limits, admitted):
    rule = {"text": "x", "input_tokens": 10, "output_tokens": 10}
    model = {"price": {"output": 1}, "answers": [rule], "limits": limits}
    async with ScriptedProvider(script_from({"models": {"m": model}})) as provider:
        seen = [await client.chat(provider) for _ in range(5)]
        assert [each.status for each in seen] == [200] * admitted + [429] * (5 - admitted)
        assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in seen[admitted:])
        bill = provider.bill()
        assert bill["calls_billed"] == admitted
        assert bill["models"]["m"]["faults"] == {f"limit_{next(iter(limits))}": 5 - admitted}


async def test_calls_at_once_are_limited_and_counted(client):
    model = {"echo": True, "latency_ms": 3_600_000, "limits": {"concurrency": 4}}
    async with ScriptedProvider(script_from({"models": {"m": model}})) as provider:
        calls = [asyncio.create_task(client.chat(provider)) for _ in range(4)]
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 4)
        assert (await client.chat(provider)).status == 429
        calls.pop().cancel()
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 3)
        calls.append(asyncio.create_task(client.chat(provider)))
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 4)
        part = provider.bill()["models"]["m"]
        assert part["max_in_flight"] == 4
        assert part["faults"] == {"limit_concurrency": 1}
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("latency_ms", [500, 3_600_000])
async def test_thousands_of_calls_wait_at_once(client, latency_ms):
    models = {"m": {"latency_ms": latency_ms, "echo": True}}
    async with ScriptedProvider(script_from({"models": models})) as provider:
        calls = [asyncio.create_task(client.chat(provider, f"{n}")) for n in range(2000)]
        if latency_ms == 500:
            assert {each.status for each in await asyncio.gather(*calls)} == {200}
            assert provider.bill()["models"]["m"]["answered"] == 2000
        else:
            await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 2000)
            for call in calls:
                call.cancel()
        await client.until(lambda: provider.bill()["models"]["m"]["in_flight"] == 0)


async def test_requests_in_one_packet_are_answered_in_order():
    async with ScriptedProvider(script_from(script(faults=[]))) as provider:
        host, port = provider.root_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(20):
            body = orjson.dumps(
                {"model": "cheap", "messages": [{"role": "user", "content": f"p{number}"}]}
            )
            last = b"Connection: close\r\n" if number == 19 else b""
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (last, body[:5], len(body) - 5, body[5:])
            )
        text = (await reader.read()).decode()
        assert [f'"p{n}"' in part for n, part in enumerate(text.split("HTTP/1.1 200")[1:])] == (
            [True] * 20
        )
        writer.close()


async def test_what_is_not_http_is_turned_away():
    async with ScriptedProvider(script_from(script())) as provider:
        host, port = provider.root_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


def write_script(tmp_path, content):
    file = tmp_path / "script.json"
    file.write_bytes(orjson.dumps(content))
    return file


def test_a_killed_client_does_not_reduce_the_bill(tmp_path):
    models = {"m": {"price": {"output": 1}, "latency_ms": 3_600_000, "echo": True}}
    with spawn_provider(write_script(tmp_path, {"models": models})) as provider:
        code = (
            "import sys, urllib.request\n"
            'body = b\'{"model": "m", "messages": [{"role": "user", "content": "x"}]}\'\n'
            "urllib.request.urlopen(sys.argv[1], body)\n"
        )
        url = f"{provider.url}/chat/completions"
        killed = subprocess.Popen([sys.executable, "-c", code, url])
        while provider.bill()["models"]["m"]["in_flight"] == 0:
            assert killed.poll() is None
        killed.kill()
        killed.wait()
        while provider.bill()["models"]["m"]["in_flight"] > 0:
            assert provider.bill()["calls_total"] == 1
        assert provider.bill()["total_nanousd"] == 1000
        assert [entry["status"] for entry in provider.log()] == [200]
        provider.reset()
        assert provider.log() == []


def test_a_child_that_cannot_start_says_why(tmp_path):
    file = write_script(tmp_path, {"models": {"m": {}}})
    with (
        pytest.raises(ServiceUnreachableError, match="exactly one of recording"),
        spawn_provider(file),
    ):
        pass


async def test_a_port_that_is_taken_is_an_error_with_a_way_out(tmp_path):
    path = write_script(tmp_path, script())
    async with ScriptedProvider(load_script(path)) as provider:
        port = int(provider.root_url.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match=f"Can't listen on 127.0.0.1:{port}"):
            async with ScriptedProvider(load_script(path), port=port):
                pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_announces_itself_and_stops_when_told(tmp_path, number):
    file = write_script(tmp_path, script())
    code = "from cascade_batch.cli.provider import provider; provider()"
    command = [sys.executable, "-c", code, "--script", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        ready = orjson.loads(process.stdout.readline())
        assert ready["url"].startswith("http://127.0.0.1:")
        assert ready["bill"] == ready["url"].removesuffix("/v1") + "/bill"
        assert ready["pid"] == process.pid
        os.kill(process.pid, number)
        assert process.wait(timeout=30) == 0


def test_the_command_refuses_a_script_that_does_not_fit(tmp_path):
    result = CliRunner().invoke(provider_command, ["--script", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint
