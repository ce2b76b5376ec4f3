"""A real model behind its real server: answers, sharing, and ends that are met well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers
from cascade_batch.providers.local_gguf import plan_of
from cascade_batch.providers.local_gguf.servers import join_server
from cascade_batch.quality.signals import signals_of

LABELS = Output(choices=("positive", "negative"))
QUESTION = "Is this film review positive or negative? I loved it."


async def ask(providers: Providers, tier: Tier, text: str, output: Output = LABELS) -> Outcome:
    body = providers.request_body(tier, Prompt([{"role": "user", "content": text}]), output)
    return await providers.call(tier, body)


def servers_of_this_process() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.cmdline()[-1].endswith("serve.py")]


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
async def test_an_answer_is_one_of_the_choices_with_usage_and_a_label_signal(
    small: Tier, endpoint: str
) -> None:
    tier = small.model_copy(update={"endpoint": endpoint})
    providers = Providers()
    outcome = await ask(providers, tier, QUESTION)
    await providers.close()
    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert reply.text.strip().lower() in LABELS.choices
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.input_tokens > 10
    label_logprob = signals_of(reply, LABELS).label_logprob
    assert label_logprob is not None
    assert label_logprob < 0


async def test_a_schema_is_kept(small: Tier) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    tier = small.model_copy(update={"max_output_tokens": 40})
    providers = Providers()
    outcome = await ask(providers, tier, QUESTION, Output(schema=schema))
    await providers.close()
    assert isinstance(outcome, Answered)
    assert json.loads(outcome.reply.text)["mood"] in ("good", "bad")


async def test_a_row_that_is_too_long_fails_alone(small: Tier) -> None:
    providers = Providers()
    too_long = await ask(providers, small, "word " * 1000)
    fine = await ask(providers, small, QUESTION)
    await providers.close()
    assert isinstance(too_long, Refused)
    assert too_long.kind is RefusalKind.ROW
    assert "context" in too_long.message
    assert isinstance(fine, Answered)


async def test_processes_share_one_server_which_ends_with_the_last_of_them(
    small: Tier, home: Path
) -> None:
    providers = Providers()
    await ask(providers, small, QUESTION)
    (server,) = servers_of_this_process()
    # Another process joins, tells the address, and waits to be killed.
    other = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", _JOIN, small.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    url = other.stdout.readline().strip()
    assert int(url.rsplit(":", 1)[1].split("/")[0]) in {
        connection.laddr.port for connection in server.net_connections() if not connection.raddr
    }
    # It is the other's only, now.
    await providers.close()
    with pytest.raises(psutil.TimeoutExpired):
        server.wait(timeout=0.5)
    # A killed process can't count itself out: the kernel does.
    other.kill()
    other.wait()
    other.stdout.close()
    assert server.wait(timeout=20) == 0


_JOIN = """
import sys, time
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.local_gguf import plan_of
from cascade_batch.providers.local_gguf.servers import join_server
from cascade_batch.settings import default_home
plan = plan_of(Tier.model_validate_json(sys.argv[1]))
print(join_server(plan, default_home() / "models" / "servers").url, flush=True)
time.sleep(60)
"""


async def test_a_server_that_was_killed_is_started_again(small: Tier) -> None:
    providers = Providers()
    assert isinstance(await ask(providers, small, QUESTION), Answered)
    (server,) = servers_of_this_process()
    server.kill()
    server.wait()
    # Nothing is tried again behind the engine's back: the call that met the end says so.
    assert not isinstance(await ask(providers, small, QUESTION), Answered)
    assert isinstance(await ask(providers, small, QUESTION), Answered)
    await providers.close()


async def test_tiers_on_one_model_share_its_server(small: Tier) -> None:
    providers = Providers()
    await ask(providers, small, QUESTION)
    await ask(
        providers, small.model_copy(update={"name": "again", "params": {"seed": 1}}), QUESTION
    )
    assert len(servers_of_this_process()) == 1
    await providers.close()


async def test_a_stranger_on_the_machine_is_not_answered(small: Tier, home: Path) -> None:
    server = join_server(plan_of(small), home / "models" / "servers")
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/completions", json={"prompt": "a"}) as response,
    ):
        assert response.status == 401
    note = next((home / "models" / "servers").glob("*.json"))
    assert note.stat().st_mode & 0o077 == 0
    server.release()


async def test_a_file_that_is_no_model_stops_the_tier_and_is_named(
    small: Tier, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but not really")
    providers = Providers()
    outcome = await ask(providers, small.model_copy(update={"gguf": str(broken)}), QUESTION)
    await providers.close()
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER
    assert str(broken) in outcome.message
