"""The process that watches over an embedded stack: `python -m cascade_batch.local.supervisor`.

It starts both servers, brings the database up to date, starts worker processes for the tiers that
have work, starts again what ends by itself, and stops everything, workers first, on SIGTERM (twice:
without waiting for calls in flight) or when nobody has needed it for `CASCADE_IDLE_STOP_S`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_batch import __version__
from cascade_batch.errors import CascadeError
from cascade_batch.local.account import Account
from cascade_batch.local.background import Background, trim_logs
from cascade_batch.local.control import SOCKET_NAME, ControlServer, Request
from cascade_batch.local.home import Home, StackState
from cascade_batch.local.processes import Child, ProcessRef
from cascade_batch.local.servers import Servers
from cascade_batch.local.sockets import private_socket_folder, remove_socket_folder
from cascade_batch.local.workers import LINGER_S, Workers, worker_command
from cascade_batch.monitoring.logs import set_up_logging
from cascade_batch.settings import Settings, load_settings

if TYPE_CHECKING:
    from cascade_batch.local.work import Work

logger = logging.getLogger("cascade_batch.local.supervisor")  # run by `-m`, it is `__main__`

TICK_S = 0.1
LOCK_TIMEOUT_S = 150.0
"""How long to wait for a stack that is stopping: its workers may have calls in flight."""
_STABLE_S = 60.0
_LONGEST_BACKOFF_S = 30.0
_TRIM_S = 60.0
_BLIND_S = 60.0
"""After so long without an answer from the database, nobody waits for one."""
_OPEN_FILES = 65_536


class Supervisor:
    """One embedded stack; made by the holder of the home's lock `supervisor`."""

    def __init__(self, home: Home, settings: Settings, servers: Servers) -> None:
        self._home = home
        self._settings = settings
        self._servers = servers
        self._loop = asyncio.get_running_loop()
        self._stop_asked = asyncio.Event()
        self._needed_at = time.monotonic()
        self._work: Work | None = None
        self._looked_at = time.monotonic()
        self._control = ControlServer(self._answer, self._touch)
        self._control_folder = private_socket_folder(
            home.run / "control", SOCKET_NAME, Account(os.geteuid(), os.getegid())
        )
        self._control_path = str(self._control_folder / SOCKET_NAME)
        self._workers = Workers(
            home,
            command=partial(worker_command, concurrency=settings.local_workers),
            linger_s=min(LINGER_S, settings.idle_stop_s),
            changed=self.save,
        )
        self._watcher = Background("work", self._watch)
        self._sweeper: Background | None = None
        self._secrets: dict[str, str] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, tiers: Sequence[str]) -> None:
        """Start or adopt everything.

        Args:
            tiers: Tiers that are going to have work.

        Raises:
            CascadeError: A server does not start, or the database can't be migrated.
        """
        for signal_no in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signal_no, self._on_signal)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)  # no terminal is ours
        self._adopt()
        self._workers.want(tiers)
        # Side by side: making a database takes as long as importing what migrates it.
        results = await asyncio.gather(
            asyncio.to_thread(self._servers.start_postgres),
            asyncio.to_thread(self._servers.start_valkey),
            asyncio.to_thread(_import_store),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        # Not earlier: what workers import would keep two cores from the database for a second,
        # and the client has rows to store before there is work.
        self._connect_workers()
        await asyncio.to_thread(_migrate, self._servers.database_url)
        await self._control.listen(self._control_path)
        self._write_state()

    async def serve(self) -> None:
        """Watch until somebody asks to stop, or nobody needs it any more."""
        self._keepers += [
            asyncio.create_task(
                self._keep("Postgres", lambda: self._servers.postgres, self._start_postgres)
            ),
            asyncio.create_task(
                self._keep("Valkey", lambda: self._servers.valkey, self._start_valkey)
            ),
            asyncio.create_task(self._trim()),
        ]
        self._touch()
        while not self._stop_asked.is_set():
            self._tick()
            await asyncio.sleep(TICK_S)

    async def stop(self) -> None:
        """Stop everything: workers, so that they can settle their calls; then the servers."""
        for keeper in self._keepers:
            keeper.cancel()
        self._stop_asked.set()
        logger.info("stopping")
        self._workers.stop()
        while not self._workers.is_empty:
            self._workers.tick()
            await asyncio.sleep(TICK_S)
        threads = [self._watcher, *([self._sweeper] if self._sweeper else [])]
        for thread in threads:
            thread.ask_to_stop()
        for thread in threads:
            await asyncio.to_thread(thread.wait, 5.0)
        await asyncio.gather(
            asyncio.to_thread(self._servers.stop_valkey),
            asyncio.to_thread(self._servers.stop_postgres),
        )
        self._home.remove_state()
        for folder in self._temporary_folders():
            remove_socket_folder(folder, self._home.account)
        await self._control.close()
        logger.info("stopped")

    def _adopt(self) -> None:
        left = self._home.read_state()
        if left is None:
            return
        self._servers.adopt_valkey(left)
        for key, ref in left.workers:
            if left.version == __version__:
                self._workers.adopt(key, ref)
            else:
                self._workers.retire_stranger(key, ref)
        for folder in map(Path, left.temporary_folders):
            if folder not in self._temporary_folders():
                remove_socket_folder(folder, self._home.account)

    def _tick(self) -> None:
        if self._work is not None and self._work.tiers:
            self._workers.want(self._work.tiers)
        self._workers.tick()
        self._servers.keep_syncing()
        self._watcher.keep()
        if self._sweeper is not None:
            self._sweeper.keep()
        if self._control.clients or self._work is None or self._work.tiers:
            self._touch()
        if self._is_idle():
            logger.info("nobody needed the stack for %.0f s", self._settings.idle_stop_s)
            self._stop_asked.set()

    def _is_idle(self) -> bool:
        idle_at = self._needed_at + self._settings.idle_stop_s
        now = time.monotonic()
        # Once more after that time somebody has to look whether there is work, if anybody can.
        has_looked = self._looked_at > idle_at or now > self._looked_at + _BLIND_S
        return now > idle_at and has_looked

    def _touch(self) -> None:
        self._needed_at = time.monotonic()

    def _answer(self, request: Request) -> bool:
        if self._stop_asked.is_set():
            return False
        match request.op:
            case "ensure_tiers":
                self._workers.hand_over(request.names, request.env)
                self._workers.want(request.names)
                self._workers.tick()
            case "keep_secrets":
                self._secrets.update(request.env)
            case "stop":
                self._stop_asked.set()
            case "ping":
                pass
            case _:
                logger.warning("unknown request %r", request.op)
                return False
        self._touch()
        return True

    def _on_signal(self) -> None:
        if self._stop_asked.is_set():
            self._workers.hurry()
        self._stop_asked.set()

    def _watch(self, stop: threading.Event) -> None:
        from cascade_batch.local.work import watch_work

        def report(work: Work) -> None:
            self._loop.call_soon_threadsafe(self._see, work)

        watch_work(self._servers.database_url, report, stop)

    def _see(self, work: Work) -> None:
        if self._stop_asked.is_set():
            return
        self._work = work
        self._looked_at = time.monotonic()
        if work.tiers or work.has_messages:
            self._sweep()
        if work.foreign_idle_s is not None:
            self._needed_at = max(self._needed_at, time.monotonic() - work.foreign_idle_s)

    def _sweep(self) -> None:
        """Start the sweeper, with the first job: what it imports takes memory."""
        if self._sweeper is None:
            urls = (self._servers.database_url, self._servers.address.url)
            self._sweeper = Background("sweeper", partial(_run_sweeper, *urls, self._variable))

    def _variable(self, name: str) -> str | None:
        return self._secrets.get(name) or os.environ.get(name)

    async def _start_postgres(self) -> None:
        await asyncio.to_thread(self._servers.start_postgres)

    async def _start_valkey(self) -> None:
        before = self._servers.address
        await asyncio.to_thread(self._servers.start_valkey)
        if self._servers.address != before:  # its port was taken in the meantime
            if self._sweeper is not None:
                self._sweeper.ask_to_stop()
                self._sweeper = None
            self._connect_workers()

    def _connect_workers(self) -> None:
        self._workers.connect(
            {
                "CASCADE_DATABASE_URL": self._servers.database_url,
                "CASCADE_REDIS_URL": self._servers.address.url,
            }
        )
        self._workers.tick()

    async def _keep(
        self, name: str, child: Callable[[], Child | None], start: Callable[[], Awaitable[None]]
    ) -> None:
        """Start a server again whenever it ends; later and later if it keeps ending."""
        failures = 0
        started_at = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            server = child()
            if server is not None and server.is_alive:
                continue
            failures = 0 if time.monotonic() - started_at > _STABLE_S else failures + 1
            delay_s = min(2.0 ** (failures - 1), _LONGEST_BACKOFF_S) if failures > 1 else 0.0
            logger.error("%s has ended; it starts again in %.0f s", name, delay_s)
            await asyncio.sleep(delay_s)
            started_at = time.monotonic()
            try:
                await start()
            except CascadeError as error:
                logger.error("%s", error.message)

    async def _trim(self) -> None:
        while True:
            await asyncio.to_thread(trim_logs, self._home.logs)
            await asyncio.sleep(_TRIM_S)

    def _temporary_folders(self) -> list[Path]:
        folders = (self._control_folder, self._servers.socket_folder)
        return [f for f in folders if not f.is_relative_to(self._home.folder)]

    def save(self) -> None:
        """Write down what runs; from any thread."""
        self._loop.call_soon_threadsafe(self._write_state)

    def _write_state(self) -> None:
        servers = self._servers
        self._home.write_state(
            StackState(
                version=__version__,
                supervisor=ProcessRef.of_ourselves(),
                control=self._control_path,
                database_url=servers.database_url,
                postgres=servers.postgres.ref if servers.postgres else None,
                valkey=servers.valkey.ref if servers.valkey else None,
                valkey_port=servers.address.port,
                valkey_password=servers.address.password,
                workers=tuple(self._workers.refs()),
                temporary_folders=tuple(str(f) for f in self._temporary_folders()),
            )
        )


def _import_store() -> None:
    import cascade_batch.store.migrate  # noqa: F401


def _migrate(database_url: str) -> None:
    from cascade_batch.store.engine import make_engine
    from cascade_batch.store.migrate import upgrade

    engine = make_engine(database_url)
    upgrade(engine)
    engine.dispose()


def _run_sweeper(
    database_url: str,
    redis_url: str,
    variables: Callable[[str], str | None],
    stop: threading.Event,
) -> None:
    from cascade_batch.dispatch.app import make_app
    from cascade_batch.dispatch.publisher import CeleryPublisher
    from cascade_batch.engine.sweep import run_sweeper

    publisher = CeleryPublisher(make_app(redis_url))
    run_sweeper(database_url, publisher, stop, variables=variables)


async def _run(home: Home, settings: Settings, tiers: Sequence[str], ready_fd: int | None) -> None:
    servers = await asyncio.to_thread(Servers, home)
    supervisor = Supervisor(home, settings, servers)
    servers.on_change(supervisor.save)
    try:
        await supervisor.start(tiers)
        _tell(ready_fd, {})
        await supervisor.serve()
    finally:
        await supervisor.stop()


def _tell(ready_fd: int | None, message: dict[str, str | None]) -> None:
    """Tell who started us how it went."""
    if ready_fd is None:
        return
    try:
        with os.fdopen(ready_fd, "w") as pipe:
            pipe.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        pass  # it did not wait


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="cascade-batch-supervisor", description=__doc__)
    parser.add_argument("--home", required=True, type=Path, help="folder of the stack")
    parser.add_argument("--tiers", default="", help="tiers to start workers for, with commas")
    parser.add_argument("--ready-fd", type=int, help="where to write how the start went")
    arguments = parser.parse_args()
    settings = load_settings()
    set_up_logging(level=logging.WARNING, own_level=logging.INFO, log_format=settings.log_format)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft < wanted:  # a call in flight is an open file, and some systems begin with 256
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    tiers = [name for name in arguments.tiers.split(",") if name]
    try:
        home = Home.at(arguments.home)
        with home.lock("supervisor", timeout_s=LOCK_TIMEOUT_S):
            asyncio.run(_run(home, settings, tiers, arguments.ready_fd))
    except CascadeError as error:
        logger.error("%s %s", error.message, error.hint or "")
        _tell(
            arguments.ready_fd,
            {"kind": type(error).__name__, "message": error.message, "hint": error.hint},
        )
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
