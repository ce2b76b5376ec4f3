"""A client that says what it saw, whatever the provider does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from cascade_batch.providers.scripted import ScriptedProvider


@dataclass(frozen=True)
class Seen:
    """What came of a request: a status, headers and body, or how the connection broke."""

    status: int | None
    body: bytes = b""
    headers: dict[str, str] | None = None
    broke: str | None = None

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        return self.json()["choices"][0]["message"]["content"]


class Client:
    """One client session; `chat` sends a chat completion."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def chat(
        self, provider: ScriptedProvider, prompt: str = "Hello", model: str = "m", **params: Any
    ) -> Seen:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **params}
        return await self.post(f"{provider.url}/chat/completions", body)

    async def post(self, url: str, body: Any, timeout_s: float = 30) -> Seen:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        status = None
        try:
            async with self.session.post(
                url, data=data, timeout=timeout, allow_redirects=False
            ) as answer:
                status = answer.status
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Seen(status, await answer.read(), headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            return Seen(status, broke=type(error).__name__)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Go on with the event loop until it is so; the test's timeout ends a vain wait."""
        while not condition():  # noqa: ASYNC110 - the provider has no event for a test to wait for
            await asyncio.sleep(0)


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Client(session)
