"""A worker's one connection to Postgres: found again after every loss.

Every statement that a worker sends may be sent twice (claims leave a lease that runs out, turns are
recognised), so that a lost connection means waiting, never losing an answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg.types.json import set_json_loads

from cascade_batch.store.engine import CONNECT_TIMEOUT_S, KEEP_ALIVE, libpq_url

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 2.0
LATELY_S = 10.0
Connection = psycopg.AsyncConnection[tuple[Any, ...]]
T = TypeVar("T")
_LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # What a server that was the primary says after a failover.
    psycopg.errors.ReadOnlySqlTransaction,
)


class Database:
    """The connection, in autocommit mode; for one task at a time."""

    def __init__(self, database_url: str) -> None:
        self._url = libpq_url(database_url)
        self._connection: Connection | None = None
        self._lost_at = -math.inf

    @property
    def was_lost_lately(self) -> bool:
        """Whether the connection was lost within the last seconds."""
        return time.monotonic() < self._lost_at + LATELY_S

    async def call(self, action: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `action` with a live connection, again after each loss of it."""
        wait_s = 0.05
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = await self._connect()
                return await action(self._connection)
            except _LOST as error:
                if isinstance(error, psycopg.errors.DeadlockDetected):
                    continue
                self._lost_at = time.monotonic()
                said = str(error).strip().splitlines()
                logger.warning(
                    "database lost (%s: %s); trying again",
                    type(error).__name__,
                    said[0] if said else "no reason given",
                )
                await self.close()
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except psycopg.Error:
                logger.debug("closing a broken connection", exc_info=True)

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="cascade-batch worker",
            **KEEP_ALIVE,
        )
        set_json_loads(orjson.loads, connection)
        return connection
