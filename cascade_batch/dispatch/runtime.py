"""What a worker process keeps from task to task: its loop, its session, its gates.

Made at the first task, so after the fork: neither a loop nor a socket survives one.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import secrets
import socket
from collections.abc import Callable

import regex

from cascade_batch.dispatch.app import SLICE_S
from cascade_batch.engine.connection import Database
from cascade_batch.engine.context import JobContexts
from cascade_batch.engine.driver import Driver, DriveSummary
from cascade_batch.engine.ports import Publisher
from cascade_batch.monitoring.observer import Observer
from cascade_batch.providers import Providers, calling
from cascade_batch.providers.limits import Gates
from cascade_batch.quality import json_schema
from cascade_batch.settings import Settings

LOADED_BEFORE_THE_FORK = (calling, json_schema, regex)
"""What is loaded when it is first needed otherwise: by each child by itself, while calls of others wait."""
_stopping = multiprocessing.RawValue(ctypes.c_bool, False)
"""Shared by a worker's main process, which hears the signal, and its children, which do the work."""
_main_pid = os.getpid()
"""A child that was forked has it from its parent; one that was started anew has its own."""


def begin_shutdown() -> None:
    """The worker was asked to stop: its children send nothing more and hand their chunks back."""
    _stopping.value = True


def is_stopping() -> bool:
    """Whether the worker was asked to stop, or its main process is gone: nobody would ever stop us."""
    return bool(_stopping.value) or _main_pid not in (os.getpid(), os.getppid())


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class WorkerRuntime:
    """One per worker process."""

    def __init__(self, settings: Settings, publisher: Publisher, observer: Observer) -> None:
        self._settings = settings
        self._publisher = publisher
        self._observer = observer
        self._loop = new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = Database(settings.database_url or "")
        self._contexts = JobContexts()
        self._providers = Providers()
        self._gates = Gates.connect(settings.redis_url or "")

    def drive(
        self, tiers: list[str], should_stop: Callable[[], bool] = is_stopping
    ) -> DriveSummary:
        """Work on these tiers' chunks until there are none, or a time slice is over."""
        driver = Driver(
            database=self._database,
            owner=self._owner,
            tiers=tiers,
            lease_s=self._settings.lease_s,
            slice_s=SLICE_S,
            providers=self._providers,
            gates=self._gates,
            contexts=self._contexts,
            should_stop=should_stop,
            on_due=self._plan,
            observer=self._observer,
        )
        return self._loop.run_until_complete(driver.run())

    async def _plan(self, job: str) -> None:
        await asyncio.to_thread(self._publisher.publish_plan, job)

    def close(self) -> None:
        """Close everything that is open."""

        async def close() -> None:
            await self._providers.close()
            await self._gates.close()
            await self._database.close()

        self._loop.run_until_complete(close())
        self._loop.close()
