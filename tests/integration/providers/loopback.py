"""A small HTTP server that answers in the three wire formats and breaks in every way there is."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.integration.providers.scenes import Scene, Trouble

INPUT_TOKENS = 40
HUGE_BYTES = 33 * 2**20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Loopback:
    """A server at work, with what it received."""

    scene: Scene
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    peers: set[object] = field(default_factory=set)
    """The connections that calls came over."""
    arrived: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    """Holds as many as calls were read."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client that was kept waiting has gone."""

    def calls(self) -> int:
        """Requests received so far."""
        return len(self.headers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Act the scene."""
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        if self.scene.trouble is Trouble.EARLY_REFUSAL:
            return web.json_response({"error": {"message": "too much"}}, status=413)
        self.bodies.append(orjson.loads(await request.read()))
        self.arrived.put_nowait(None)
        act = _ACTS.get(self.scene.trouble)
        if act is not None:
            return await act(self, request)
        status = _STATUS.get(self.scene.trouble)
        if status is not None:
            return self._refuse(self.scene.status or status)
        return web.json_response(self.answer(request.path))

    def answer(self, path: str) -> dict[str, Any]:
        """A good answer, or one that is odd in the way the scene asks for."""
        if self.scene.trouble is Trouble.ERROR_200:
            return {"error": {"message": "the model broke", "type": "server_error"}}
        if path.endswith("/messages"):
            return _anthropic(self.scene)
        return _openai(self.scene, is_chat=path.endswith("/chat/completions"))

    def _refuse(self, status: int) -> web.Response:
        scene = self.scene
        headers = {}
        if scene.retry_after_s is not None:
            headers["Retry-After"] = str(scene.retry_after_s)
        if scene.trouble is Trouble.REDIRECT:
            headers["Location"] = scene.location
        error = {"message": f"scripted {scene.trouble}", "type": "error", "code": None}
        return web.json_response({"error": error}, status=status, headers=headers)


_STATUS = {
    Trouble.RATE_LIMIT: 429,
    Trouble.SERVER_ERROR: 500,
    Trouble.BAD_REQUEST: 400,
    Trouble.UNAUTHORIZED: 401,
    Trouble.NOT_FOUND: 404,
    Trouble.REDIRECT: 307,
}

_ENDS = {
    Trouble.TRUNCATED_ANSWER: ("length", "max_tokens"),
    Trouble.CONTENT_FILTER: ("content_filter", "refusal"),
    Trouble.REFUSAL: ("stop", "refusal"),
}


def _openai(scene: Scene, *, is_chat: bool) -> dict[str, Any]:
    finish_reason = _ENDS.get(scene.trouble, ("stop", ""))[0]
    empty = scene.trouble in (Trouble.EMPTY_ANSWER, Trouble.CONTENT_FILTER)
    text = "" if empty else scene.text
    tops = [*scene.alternatives, (scene.text, scene.logprob)]
    choice: dict[str, Any]
    if is_chat:
        message = {"role": "assistant", "content": text or None}
        if scene.trouble is Trouble.REFUSAL:
            message = {"role": "assistant", "content": None, "refusal": scene.text}
        listed = [{"token": token, "logprob": value} for token, value in tops]
        token = {"token": scene.text, "logprob": scene.logprob, "top_logprobs": listed}
        choice = {"message": message, "logprobs": {"content": [token]}}
    else:
        lists = {
            "tokens": [scene.text],
            "token_logprobs": [scene.logprob],
            "top_logprobs": [dict(tops)],
        }
        choice = {"text": text, "logprobs": lists}
    output_tokens = scene.output_tokens + scene.reasoning_tokens
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": output_tokens,
        "total_tokens": INPUT_TOKENS + output_tokens,
        "prompt_tokens_details": {"cached_tokens": scene.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": scene.reasoning_tokens},
    }
    answer = {"choices": [choice | {"index": 0, "finish_reason": finish_reason}], "usage": usage}
    if scene.trouble is Trouble.NO_USAGE:
        del answer["usage"]
    return answer


def _anthropic(scene: Scene) -> dict[str, Any]:
    stop_reason = _ENDS.get(scene.trouble, ("", "end_turn"))[1]
    empty = scene.trouble in (Trouble.EMPTY_ANSWER, Trouble.CONTENT_FILTER)
    thinking = [{"type": "thinking", "thinking": "hm"}] if scene.reasoning_tokens else []
    text = [] if empty else [{"type": "text", "text": scene.text}]
    answer = {
        "type": "message",
        "content": thinking + text,
        "stop_reason": stop_reason,
        "usage": {
            "input_tokens": INPUT_TOKENS - scene.cached_input_tokens,
            "cache_read_input_tokens": scene.cached_input_tokens,
            "cache_creation_input_tokens": None,
            "output_tokens": scene.output_tokens + scene.reasoning_tokens,
            "output_tokens_details": {"thinking_tokens": scene.reasoning_tokens},
        },
    }
    if scene.trouble is Trouble.NO_USAGE:
        del answer["usage"]
    return answer


async def _hang(server: Loopback, _request: web.Request) -> web.StreamResponse:
    # Cancelled by aiohttp when the client hangs up.
    try:
        await asyncio.Event().wait()
    finally:
        server.left.set()
    raise AssertionError("unreachable")


async def _reset(_server: Loopback, request: web.Request) -> web.StreamResponse:
    _abort(request)
    return web.Response()


async def _cut_body(server: Loopback, request: web.Request) -> web.StreamResponse:
    body = orjson.dumps(server.answer(request.path))
    sent = {
        Trouble.RESET_AFTER_HEADERS: b"",
        Trouble.CUT_BODY: body[: len(body) // 2],
        Trouble.CUT_REFUSAL: body[: len(body) // 2],
    }[server.scene.trouble]
    status = 500 if server.scene.trouble is Trouble.CUT_REFUSAL else 200
    response = web.StreamResponse(status=status, headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(sent)
    _abort(request, politely=bool(sent))
    return response


def _abort(request: web.Request, *, politely: bool = False) -> None:
    transport = request.transport
    assert transport is not None
    if politely:
        transport.close()
    else:
        transport.abort()


async def _html(server: Loopback, request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html><body>Back soon</body></html>", content_type="text/html")


async def _empty_body(server: Loopback, request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"")


async def _slow_drip(server: Loopback, request: web.Request) -> web.StreamResponse:
    body = orjson.dumps(server.answer(request.path))
    response = web.StreamResponse()
    await response.prepare(request)
    for start in range(0, len(body), len(body) // 10):
        await response.write(body[start : start + len(body) // 10])
        await asyncio.sleep(server.scene.duration_s / 10)
    return response


async def _huge_body(server: Loopback, request: web.Request) -> web.StreamResponse:
    body = orjson.dumps(server.answer(request.path))
    return web.Response(body=body + b" " * HUGE_BYTES, content_type="application/json")


async def _endless_body(server: Loopback, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 2**20)


async def _gzip(server: Loopback, request: web.Request) -> web.StreamResponse:
    body = orjson.dumps(server.answer(request.path))
    if server.scene.trouble is Trouble.GZIP_BOMB:
        body += b" " * (2 * HUGE_BYTES)
    packed = gzip.compress(body, 1)
    if server.scene.trouble is Trouble.GZIP_CUT:
        packed = packed[:-4]  # The text is whole, only its checksum is not.
    return web.Response(body=packed, headers={"Content-Encoding": "gzip"})


async def _unknown_encoding(server: Loopback, request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x0b\x02\x80{}", headers={"Content-Encoding": "br"})


async def _not_a_number(server: Loopback, request: web.Request) -> web.StreamResponse:
    text = orjson.dumps(server.answer(request.path)).decode()
    return web.Response(text=text.replace(str(server.scene.logprob), "-Infinity"))


async def _echo_key(server: Loopback, request: web.Request) -> web.StreamResponse:
    sent = request.headers.get("Authorization") or request.headers["x-api-key"]
    status = server.scene.status or 200
    # Around the place where messages are cut, and with a part of it before the cut.
    words = f"{'x' * 440} not good: {sent} {sent}"
    if status == 200:
        return web.Response(text=f"<p>{words}</p>")
    return web.json_response({"error": {"message": words}}, status=status)


_ACTS: dict[Trouble, Callable[[Loopback, web.Request], Awaitable[web.StreamResponse]]] = {
    Trouble.HANG: _hang,
    Trouble.RESET: _reset,
    Trouble.RESET_AFTER_HEADERS: _cut_body,
    Trouble.CUT_BODY: _cut_body,
    Trouble.CUT_REFUSAL: _cut_body,
    Trouble.HTML_200: _html,
    Trouble.EMPTY_BODY: _empty_body,
    Trouble.SLOW_DRIP: _slow_drip,
    Trouble.HUGE_BODY: _huge_body,
    Trouble.ENDLESS_BODY: _endless_body,
    Trouble.GZIP: _gzip,
    Trouble.GZIP_BOMB: _gzip,
    Trouble.GZIP_CUT: _gzip,
    Trouble.UNKNOWN_ENCODING: _unknown_encoding,
    Trouble.NOT_A_NUMBER: _not_a_number,
    Trouble.ECHO_KEY: _echo_key,
}


class LoopbackKind:
    """Acts every scene."""

    def plays(self, scene: Scene, wire: dict[str, Any]) -> bool:
        """See `ServerKind`."""
        # Completions have no field for a refusal.
        return scene.trouble is not Trouble.REFUSAL or wire.get("endpoint") != "completions"

    @asynccontextmanager
    async def serve(self, scene: Scene) -> AsyncIterator[Loopback]:
        """See `ServerKind`."""
        server = Loopback(scene)
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/v1/{path:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        server.url = f"http://127.0.0.1:{port}/v1"
        try:
            yield server
        finally:
            await runner.cleanup()
