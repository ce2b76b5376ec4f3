"""`api: local`: a model in a GGUF file, run on this machine by llama.cpp."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from cascade_batch.domain.answer import Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import CascadeError, UsageError
from cascade_batch.providers.local_gguf.catalogue import CATALOGUE, find_model
from cascade_batch.providers.local_gguf.servers import (
    ServerPlan,
    SharedServer,
    join_server,
    require_llama_cpp,
)
from cascade_batch.providers.openai import OpenAIWire
from cascade_batch.providers.provider import PerTier
from cascade_batch.providers.wire import HttpProvider, HttpSession
from cascade_batch.settings import default_home

DEFAULT_CONTEXT_TOKENS = 4096
"""Room for a call where neither the tier nor the model says less or more: 100 MB or so of memory per
slot with the smallest models."""

LISTED_LOGPROBS = 40
"""Alternatives to the first token that are asked for. A small model has more ways than a large one of
beginning an answer, and a label that is not listed has no log-probability."""


class LocalGgufProvider:
    """Calls model servers on this machine, and starts those that do not run yet.

    Calls beyond a server's slots wait here: in the server, the wait would count towards their time-out.
    """

    def __init__(self, session: HttpSession) -> None:
        self._http = HttpProvider(session, self._wire)
        self._keys: dict[str, str] = {}
        self._served: dict[ServerPlan, _Served] = {}
        self._plans: PerTier[_LatePlan] = PerTier(_LatePlan)
        self._starting = asyncio.Lock()

    def request_body(self, tier: Tier, prompt: Prompt, output: Output) -> bytes:
        """See `Provider.request_body`."""
        return self._http.request_body(tier, prompt, output)

    def body_family(self, tier: Tier) -> str:
        """See `Provider.body_family`."""
        return self._http.body_family(tier)

    def request_end(self, tier: Tier, output: Output) -> bytes:
        """See `Provider.request_end`."""
        return self._http.request_end(tier, output)

    def answerer(self, tier: Tier) -> bytes | None:
        """The model: of a catalogue's the name, of a file its size and when it was written."""
        if tier.gguf is None:
            return orjson.dumps(["catalogue", tier.endpoint, tier.context_tokens])
        try:
            found = Path(tier.gguf).expanduser().stat()
        except (OSError, RuntimeError, ValueError):
            return None  # it is somewhere else, or nowhere: workers will say so
        file = [tier.gguf, found.st_size, found.st_mtime_ns]
        return orjson.dumps(["gguf", tier.endpoint, tier.context_tokens, *file])

    async def call(self, tier: Tier, body: bytes) -> Outcome:
        """See `Provider.call`."""
        try:
            served = await self._served_for(tier)
        except CascadeError as error:
            return Refused(RefusalKind.TIER, " ".join(filter(None, (error.message, error.hint))))
        async with served.free_slots:
            outcome = await self._http.call(served.tiers[tier], body)
        if _is_gone(outcome):
            # The next call finds out whether it still runs, and starts it again if it does not.
            self._forget(served)
        return outcome

    async def close(self) -> None:
        """Let go of the servers; those that nobody else uses end."""
        for served in list(self._served.values()):
            self._forget(served)

    def _wire(self, tier: Tier) -> LlamaCppWire:
        return LlamaCppWire(tier, self._keys.get(tier.url))

    async def _served_for(self, tier: Tier) -> _Served:
        plan = await self._plans[tier].get()
        served = self._served.get(plan)
        if served is not None:
            return served
        async with self._starting:
            served = self._served.get(plan)
            if served is None:
                served = self._served[plan] = _Served(plan, await _join(plan))
                self._keys[served.server.url] = served.server.key
        return served

    def _forget(self, served: _Served) -> None:
        if self._served.get(served.plan) is served:
            del self._served[served.plan]
            served.server.release()
            self._keys.pop(served.server.url, None)


class _LatePlan:
    """A tier's plan, made by the first call: to find a model may mean to read all of its file."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._plan: ServerPlan | None = None
        self._making = asyncio.Lock()

    async def get(self) -> ServerPlan:
        """The plan; errors as of `plan_of`, and tried again by the next call."""
        if self._plan is None:
            async with self._making:
                if self._plan is None:
                    self._plan = await asyncio.to_thread(plan_of, self._tier)
        return self._plan


class _Served:
    """A server that this process holds a share of."""

    def __init__(self, plan: ServerPlan, server: SharedServer) -> None:
        self.plan = plan
        self.server = server
        self.free_slots = asyncio.Semaphore(plan.slots)
        self.tiers: PerTier[Tier] = PerTier(
            lambda tier: tier.model_copy(update={"base_url": server.url, "api_key_env": None})
        )


class LlamaCppWire(OpenAIWire):
    """OpenAI's format, with what llama.cpp can do besides: hold an answer to one of the choices."""

    def __init__(self, tier: Tier, key: str | None) -> None:
        super().__init__(tier)
        self._key = key

    def headers(self, key: str | None) -> dict[str, str]:  # noqa: ARG002 - the server has its own
        """The server's key as a bearer token."""
        return super().headers(self._key)

    def reply(self, document: Any, latency_ms: float) -> Reply:
        """See `Wire.reply`. The token that ends an answer is no part of it: held to a choice, the model
        has no other left, and how likely it was says nothing."""
        for choice in document.get("choices") or ():
            tokens = (choice.get("logprobs") or {}).get("content")
            if tokens and tokens[-1].get("token") == "":
                del tokens[-1]
        return super().reply(document, latency_ms)

    def _fixed(self, output: Output) -> dict[str, Any]:
        tier = self._tier
        # The likeliest answer, where nothing else is asked for: llama.cpp would draw one.
        fixed = {"temperature": 0.0, **super()._fixed(output)}
        if tier.logprobs:
            listed = tier.params.get("top_logprobs", LISTED_LOGPROBS)
            fixed["top_logprobs" if tier.endpoint == "chat" else "logprobs"] = listed
        if tier.response_format and not {"grammar", "json_schema"} & tier.params.keys():
            if output.choices is not None:
                fixed["grammar"] = choices_grammar(output.choices)
            elif output.json_schema is not None and tier.endpoint == "completions":
                fixed["json_schema"] = output.json_schema
        return fixed


def choices_grammar(choices: Sequence[str]) -> str:
    """A grammar (GBNF) of the choices.

    With or without a space in front, as base models begin with one, and with a capital or without: a model
    that was heading for "Positive" has to be allowed to, or it ends up with the other choice.
    """
    spellings = dict.fromkeys(choices)
    for choice in choices:
        for first in (choice[:1].upper(), choice[:1].lower()):
            spellings[first + choice[1:]] = None
    # JSON's escapes are GBNF's, for all that choices are made of.
    alternatives = " | ".join(json.dumps(spelling, ensure_ascii=False) for spelling in spellings)
    return f'root ::= " "? ({alternatives})'


def plan_of(tier: Tier) -> ServerPlan:
    """What has to be served for a tier.

    Half of the processor's cores are a server's, as others (a second model, the database, the workers) want
    theirs and llama.cpp loses far more when it has to wait for a core than it gains by another one.
    `CASCADE_GGUF_THREADS` says otherwise.

    Raises:
        UsageError: llama.cpp or the model is not installed, or there is no such file.
    """
    require_llama_cpp(f"Tier {tier.name!r} (api: local)")
    if tier.gguf is None:
        gguf = find_model(tier.model, default_home() / "models")
        trained_for = CATALOGUE[tier.model].context_tokens
    else:
        gguf = Path(tier.gguf).expanduser()
        trained_for = DEFAULT_CONTEXT_TOKENS
        if not gguf.is_file():
            raise UsageError(
                f"Tier {tier.name!r}: there is no file {gguf}.",
                hint="Give gguf the absolute path of a GGUF file, as workers run in other folders.",
            )
    threads = _threads()
    return ServerPlan(
        gguf=gguf.absolute(),
        context_tokens=tier.context_tokens or min(DEFAULT_CONTEXT_TOKENS, trained_for),
        slots=tier.limits.concurrency or max(2, threads),
        threads=threads,
    )


def _threads() -> int:
    text = os.environ.get("CASCADE_GGUF_THREADS", "")
    if not text:
        is_linux = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1
        return max(1, cores // 2)
    if not (text.isdecimal() and 0 < int(text) <= 1024):
        raise UsageError(f"CASCADE_GGUF_THREADS is {text!r}, which is no number of threads.")
    return int(text)


async def _join(plan: ServerPlan) -> SharedServer:
    folder = default_home().absolute() / "models" / "servers"
    joining = asyncio.ensure_future(asyncio.to_thread(join_server, plan, folder))
    try:
        return await asyncio.shield(joining)
    except asyncio.CancelledError:
        # The thread can't be stopped, and nobody else knows of the share that it will hold.
        joining.add_done_callback(_release)
        raise


def _release(joined: asyncio.Future[SharedServer]) -> None:
    if joined.exception() is None:
        joined.result().release()


def _is_gone(outcome: Outcome) -> bool:
    if isinstance(outcome, Refused):
        return outcome.kind is RefusalKind.CONNECT
    return isinstance(outcome, Unknown) and outcome.reason == "disconnected"
