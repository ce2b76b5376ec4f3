"""The supervisor's private socket: how commands talk to it.

One JSON object per line, each answered by one:

    {"op": "ping"}                                          {"ok": true}
    {"op": "ensure_tiers", "names": […], "env": {…}}        {"ok": true}
    {"op": "keep_secrets", "env": {…}}                      {"ok": true}
    {"op": "stop"}                                          {"ok": true}

`ok` is false where the stack is stopping, so that the caller waits and starts another. A connection
that stays open says that its client is still there: while there is one, the stack does not stop by
itself. The values in `env` are keys and secrets: they stay in memory, on both
sides.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade_batch.errors import ServiceUnreachableError

logger = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"
_ANSWER_TIMEOUT_S = 10.0
_LONGEST_LINE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for; see the module's docstring."""

    op: str
    names: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Client:
    """A connection to a supervisor. While it is open, the stack stays."""

    def __init__(self, path: str) -> None:
        """Connect.

        Raises:
            OSError: Nobody listens there.
        """
        # A question and its answer belong together, whichever thread asks.
        self._asking = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_ANSWER_TIMEOUT_S)
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def ask(
        self, op: str, *, names: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> bool:
        """Ask for something.

        Returns:
            Whether it was accepted; False also where the supervisor has gone.

        Raises:
            ServiceUnreachableError: The supervisor does not answer.
        """
        line = json.dumps({"op": op, "names": list(names), "env": dict(env or {})})
        try:
            with self._asking:
                self._socket.sendall(line.encode() + b"\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    part = self._socket.recv(4096)
                    if not part:
                        return False
                    answer += part
        except TimeoutError as error:
            raise ServiceUnreachableError(
                "The embedded stack's supervisor does not answer.",
                hint="Run `cascade-batch down`, then try again.",
            ) from error
        except OSError:
            return False
        return bool(json.loads(answer)["ok"])

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait until the supervisor is gone; False if it is still there after that time."""
        self._socket.settimeout(timeout_s)
        try:
            while self._socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Leave."""
        self._socket.close()


class ControlServer:
    """The supervisor's end of the socket."""

    def __init__(self, answer: Callable[[Request], bool], closed: Callable[[], None]) -> None:
        """Make it.

        Args:
            answer: Called with each request; returns whether it is accepted.
            closed: Called when a client has left.
        """
        self._answer = answer
        self._closed = closed
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def listen(self, path: str) -> None:
        """Listen at a path in a private folder; what a killed supervisor left there is replaced."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_LONGEST_LINE_BYTES)

    async def close(self) -> None:
        """Take no more clients and part with those that are connected."""
        if self._server is not None:
            self._server.close()
        clients = dict(self._clients)
        for writer in clients:
            writer.close()
        if clients:
            await asyncio.wait(clients.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine that runs has one
        self._clients[writer] = task
        try:
            while line := await reader.readline():
                writer.write(json.dumps({"ok": self._handle(line)}).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            # Not the line itself: a key may be in it.
            logger.warning("a client was dropped: %s", type(error).__name__)
        finally:
            del self._clients[writer]
            writer.close()
            self._closed()

    def _handle(self, line: bytes) -> bool:
        request: dict[str, Any] = json.loads(line)
        return self._answer(
            Request(
                op=str(request["op"]),
                names=tuple(str(name) for name in request.get("names", ())),
                env={str(k): str(v) for k, v in request.get("env", {}).items()},
            )
        )
