"""Where a blow strikes: a stack with a job at work, a provider, and a witness with its own connection."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from benchmarks.rig import Rig, command
from cascade_batch.dispatch.app import make_app
from cascade_batch.dispatch.publisher import CeleryPublisher
from cascade_batch.engine.chunks import notice
from cascade_batch.engine.plan import LOCK_SPACE
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.local.stack import Services, stack_status
from cascade_batch.providers.scripted import SpawnedProvider
from cascade_batch.settings import Settings
from cascade_batch.store.engine import libpq_url

LEASE_S = 3
PATIENCE_S = 150.0
"""A job that has not ended by itself after so long is stuck."""
_LOOK_AGAIN_S = 0.05
PLANNING = (
    "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    f" WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {LOCK_SPACE}"
)
"""Planners that are at it."""


class Witness:
    """A connection of our own to the database, found again whenever the database is back."""

    def __init__(self, database_url: str) -> None:
        self._url = libpq_url(database_url)
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def ask(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Rows of a query, as soon as the database can answer it."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self.connect()
                return self._connection.execute(query, values).fetchall()
            except psycopg.OperationalError:
                self._connection = None
                assert time.monotonic() < ends, "the database did not come back"
                time.sleep(_LOOK_AGAIN_S)

    def one(self, query: str, **values: object) -> Any:
        """The only value of a query with one row."""
        return next(iter(self.ask(query, **values)[0].values()))

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """Another connection, for a transaction."""
        return psycopg.connect(
            self._url, autocommit=True, row_factory=dict_row, application_name="chaos"
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@dataclass
class Scene:
    """A job at work, and what may be done to it.

    Attributes:
        chance: Of this run's seed.
        job: The job's name.
    """

    rig: Rig
    server: SpawnedProvider
    chance: random.Random
    job: str
    services: Services
    witness: Witness
    _logs: int = field(default=0)

    def is_over(self) -> bool:
        """Whether the job has ended."""
        state = "SELECT state FROM cascade_store.job WHERE name = %(job)s"
        found = self.witness.ask(state, job=self.job)
        return bool(found) and found[0]["state"] not in ("queued", "running")

    def wait(self, is_so: Callable[[], bool], what: str) -> bool:
        """Look until something is so, or until the job is over.

        Returns:
            Whether it came to be so.
        """
        ends = time.monotonic() + PATIENCE_S
        while not is_so():
            if self.is_over():
                return is_so()
            assert time.monotonic() < ends, f"waited in vain until {what}"
            time.sleep(_LOOK_AGAIN_S)
        return True

    def publisher(self) -> CeleryPublisher:
        return CeleryPublisher(make_app(self.services.redis_url))

    def notices(self, most: int = 20) -> list[ChunkNotice]:
        """Messages about the newest chunks, done or not."""
        chunks = self.witness.ask(
            "SELECT c.chunk_id, c.tier_name, c.row_from, c.row_to, c.row_count"
            " FROM cascade_store.chunk c JOIN cascade_store.job j USING (job_id)"
            " WHERE j.name = %(job)s ORDER BY c.chunk_id DESC LIMIT %(most)s",
            job=self.job,
            most=most,
        )
        return [notice(self.job, chunk["chunk_id"], chunk | {"row_nos": None}) for chunk in chunks]

    def controls(self) -> list[psutil.Process]:
        """The planner's main process and its child."""
        return family(p for name, p in self.rig.parts().items() if "control" in name)

    @contextlib.contextmanager
    def companion(
        self, *arguments: str, ready: str, **environment: str
    ) -> Iterator[psutil.Process]:
        """A command of `cascade-batch` beside the stack's own, on its services; killed at the end.

        Args:
            ready: What its output holds when it is at work.
        """
        self._logs += 1
        log = self.rig.folder / f"companion-{self._logs}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(*arguments),
                cwd=self.rig.folder,
                env={
                    **self.rig.environment,
                    "CASCADE_DATABASE_URL": self.services.database_url,
                    "CASCADE_REDIS_URL": self.services.redis_url,
                    "C_FORCE_ROOT": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            ends = time.monotonic() + PATIENCE_S
            while ready not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < ends, f"waited in vain for {arguments}: {log.read_text()}"
                time.sleep(_LOOK_AGAIN_S)
            yield psutil.Process(process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def wake_until(self, is_so: Callable[[], bool], what: str) -> bool:
        """Send messages about the job's chunks until something is so, or until the job is over."""
        publisher = self.publisher()
        last = 0.0

        def look() -> bool:
            nonlocal last
            if time.monotonic() > last + 0.5:
                last = time.monotonic()
                publisher.publish_chunks(self.notices(4))
            return is_so()

        return self.wait(look, what)


def services_of(rig: Rig) -> Services:
    """Where the servers of a stack are."""
    home = Path(rig.environment["CASCADE_HOME"])
    services = stack_status(Settings(database_url=None, redis_url=None, home=home)).services
    assert services is not None, "the stack does not run"
    return services


def family(mains: Iterable[psutil.Process]) -> list[psutil.Process]:
    """These processes and all that they have forked."""
    found: list[psutil.Process] = []
    for main in mains:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [main, *main.children(recursive=True)]
    return found


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> int:
    """Signal processes; how many were there."""
    there = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            there += 1
    return there


def held_by(scene: Scene, pids: Sequence[int]) -> int:
    """Chunks of the job on which these processes hold a lease, with money reserved."""
    held: int = scene.witness.one(
        "SELECT count(*) FROM cascade_store.chunk c JOIN cascade_store.job j USING (job_id)"
        " WHERE j.name = %(job)s AND c.state = 'leased' AND c.reserved_nanousd > 0"
        " AND split_part(c.owner, ':', 2)::int = ANY (%(pids)s)",
        job=scene.job,
        pids=list(pids),
    )
    return held
