"""A proxy before the database that cuts connections when told to: before a request reached the server,
or after the server answered it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from psycopg.conninfo import conninfo_to_dict

from cascade_batch.store.engine import libpq_url


class Proxy:
    """See the module. `url` leads to the same database, through the proxy."""

    def __init__(self, database_url: str) -> None:
        info = conninfo_to_dict(libpq_url(database_url))
        self._target = info
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._every = 0
        self._direction = ""
        self._exchanges = 0
        self.cuts = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, database_url: str) -> AsyncIterator[Proxy]:
        proxy = cls(database_url)
        await proxy.open_again()
        try:
            yield proxy
        finally:
            await proxy.close_down()

    @property
    def url(self) -> str:
        info = self._target
        password = f":{info['password']}" if info.get("password") else ""
        return f"postgresql://{info['user']}{password}@127.0.0.1:{self._port}/{info['dbname']}"

    def cut_every(self, exchanges: int, direction: str) -> None:
        """Cut each so-many-th exchange of a connection that is already set up; 0: none."""
        self._every = exchanges
        self._direction = direction

    async def open_again(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close_down(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._target["host"]), int(self._target.get("port") or 5432)
        if host.startswith("/"):
            up_reader, up_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        try:
            down = asyncio.create_task(self._copy(up_reader, writer, "to the client"))
            up = asyncio.create_task(self._copy(reader, up_writer, "to the server"))
            await asyncio.wait([down, up], return_when=asyncio.FIRST_COMPLETED)
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)
        finally:
            up_writer.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str
    ) -> None:
        copied = 0
        while data := await reader.read(1 << 16):
            # The first packets set the connection up; what is cut there is no turn.
            copied += 1
            if self._every and copied > 4 and direction == self._direction:
                self._exchanges += 1
                if self._exchanges % self._every == 0:
                    self.cuts += 1
                    return
            writer.write(data)
            await writer.drain()
