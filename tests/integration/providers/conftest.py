"""Callers in each wire format, and servers that act a scene."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from cascade_batch.domain.answer import Outcome
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers
from tests.integration.providers.loopback import LoopbackKind
from tests.integration.providers.scenes import Scene, Served, ServerKind, Trouble
from tests.integration.providers.scripted_kind import ScriptedKind

KINDS: dict[str, ServerKind] = {"loopback": LoopbackKind(), "scripted": ScriptedKind()}
WIRES: dict[str, dict[str, Any]] = {
    "chat": {"api": "openai"},
    "completions": {"api": "openai", "endpoint": "completions"},
    "anthropic": {"api": "anthropic"},
}
KEY = "sk-a-very-secret-key-0123456789"
MESSAGES = [
    {"role": "system", "content": "You label headlines."},
    {"role": "user", "content": "Up or down? Gold rises."},
]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> ServerKind:
    return KINDS[request.param]


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WIRES[request.param]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Caller:
    """Makes calls, each once."""

    providers: Providers
    wire: dict[str, Any]

    async def call(self, url: str, **tier: Any) -> Outcome:
        made = Tier(
            name="small",
            model="model",
            base_url=url,
            **{"api_key_env": "TEST_KEY", "timeout_s": 30, "logprobs": True} | self.wire | tier,
        )
        output = Output()
        body = self.providers.request_body(made, Prompt(MESSAGES), output)
        return await self.providers.call(made, body)


@pytest.fixture
async def caller(wire: dict[str, Any]) -> AsyncIterator[Caller]:
    providers = Providers()
    yield Caller(providers, wire)
    await providers.close()


class Play:
    """Serves a scene, calls once, and makes sure that one request was sent, whatever came of it."""

    def __init__(self, kind: ServerKind, caller: Caller, stack: AsyncExitStack) -> None:
        self._kind = kind
        self._caller = caller
        self._stack = stack

    async def __call__(self, trouble: Trouble, *, tier: Any = None, **scene: Any) -> Outcome:
        acted = Scene(trouble, **scene)
        if not self._kind.plays(acted, self._caller.wire):
            pytest.skip(f"this kind of server can't act {trouble} in this format")
        served: Served = await self._stack.enter_async_context(self._kind.serve(acted))
        outcome = await self._caller.call(served.url, **(tier or {}))
        assert served.calls() == 1
        return outcome


@pytest.fixture
async def play(kind: ServerKind, caller: Caller) -> AsyncIterator[Play]:
    async with AsyncExitStack() as stack:
        yield Play(kind, caller, stack)
