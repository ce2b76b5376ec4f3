"""The provider on a port: inside this process, as a command, or as a child of a test."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import orjson

from cascade_batch.errors import ServiceUnreachableError, UsageError
from cascade_batch.providers.scripted.bill import LogEntry, Statement
from cascade_batch.providers.scripted.http import Connection
from cascade_batch.providers.scripted.provider import Provider
from cascade_batch.providers.scripted.script import Script, load_script

_LOG = logging.getLogger(__name__)
_BACKLOG = 4096
_STOP_PATIENCE_S = 10.0


class ScriptedProvider:
    """The provider inside the running event loop, as an async context manager.

    Args:
        script: What to do (`load_script`, `script_from`).
        host: Address to listen on.
        port: Port to listen on; 0: any that is free.

    Raises:
        UsageError: The script can't be carried out, or the port can't be had.
    """

    def __init__(self, script: Script, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._provider = Provider(script)
        self._host = host
        self._port = port
        self._connections: set[Connection] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        allow_many_connections()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._provider, self._connections),
                self._host,
                self._port,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise UsageError(
                f"Can't listen on {self._host}:{self._port}: {error.strerror or error}.",
                hint="Take another --port (0: any that is free), and the same one in each tier's"
                " base_url.",
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._provider.log.close()

    @property
    def root_url(self) -> str:
        """Where the server is, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def url(self) -> str:
        """The `base_url` of a tier."""
        return f"{self.root_url}/v1"

    def bill(self) -> Statement:
        """The bill so far."""
        return self._provider.statement()

    def log(self) -> list[LogEntry]:
        """The last 10,000 calls, oldest first."""
        return _entries(self._provider.log.lines())

    def reset(self) -> None:
        """Begin again; see `Provider.reset`."""
        self._provider.reset()


def serve(
    script_path: str | Path, *, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve a script until SIGTERM or SIGINT.

    Args:
        announce: Given one line of JSON when the server is ready: `url`, `bill` and `pid`.

    Raises:
        UsageError: The script or a recording can't be used, or the port can't be had.
    """
    script = load_script(script_path)
    _run_loop(_serve(script, host, port, announce))


async def _serve(script: Script, host: str, port: int, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ScriptedProvider(script, host=host, port=port) as provider:
        ready = {"url": provider.url, "bill": f"{provider.root_url}/bill", "pid": os.getpid()}
        announce(orjson.dumps(ready).decode())
        await stop.wait()


class SpawnedProvider:
    """A provider in a process of its own. Its methods ask it over HTTP and wait."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url
        """The `base_url` of a tier."""

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def bill(self) -> Statement:
        """The bill so far."""
        return cast(Statement, orjson.loads(self._ask("GET", "/bill")))

    def log(self) -> list[LogEntry]:
        """The last 10,000 calls, oldest first."""
        return _entries(self._ask("GET", "/log"))

    def reset(self) -> None:
        """Begin again; see `Provider.reset`."""
        self._ask("POST", "/bill/reset")

    def _ask(self, method: str, path: str) -> bytes:
        url = self.url.removesuffix("/v1") + path
        request = urllib.request.Request(url, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return cast(bytes, answer.read())


@contextlib.contextmanager
def spawn_provider(script_path: str | Path, *, port: int = 0) -> Iterator[SpawnedProvider]:
    """Run a provider as a child process for as long as the block lasts.

    Raises:
        ServiceUnreachableError: It did not start; the message holds what it said.
    """
    command = [sys.executable, "-m", __package__, str(script_path), str(port)]
    # A file, not a pipe, for what it complains of: nobody reads while it runs.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        try:
            yield SpawnedProvider(process, _wait_until_ready(process, complaints))
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            for line in _read_again(complaints).splitlines():
                _LOG.warning("scripted provider: %s", line)


def _wait_until_ready(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise ServiceUnreachableError(
            f"The scripted provider did not start: {_read_again(complaints)}",
            hint="Correct the script, or start it by hand with `cascade-batch provider --script`.",
        )
    return str(orjson.loads(line)["url"])


def _read_again(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read().decode(errors="replace").strip()


def allow_many_connections() -> None:
    """Raise this process's soft limit of open files as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the hard limit is infinite, the kernel may know a lower one and refuse.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_loop(main: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _entries(lines: bytes) -> list[LogEntry]:
    return [orjson.loads(line) for line in lines.splitlines()]
