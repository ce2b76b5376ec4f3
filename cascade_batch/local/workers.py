"""The worker processes: one per tier that has work, and one for the planner.

A worker is wanted for a while after its tier was last needed, is started again when it ends by
itself (later and later if it keeps ending), and is asked to stop when nobody wanted it any more. A
worker that was asked to stop may take its time, as the calls that it waits for are paid for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import site
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from cascade_batch.local.home import Home
from cascade_batch.local.processes import Child, ProcessRef, start

logger = logging.getLogger(__name__)

CONTROL = "control"
"""Name of the planner's worker; a tier's worker has a prefix, whatever the tier is called."""
LINGER_S = 120.0
"""How long a worker stays after its tier was last needed: jobs come in flocks."""
GRACE_S = 75.0
"""How long a worker may take to stop: a call's usual timeout, and some."""
QUIT_S = 25.0
"""How long after that, when it was told to give up its calls."""
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_STABLE_S = 60.0
"""A worker that lived this long and ends is no failing worker."""


def tier_key(name: str) -> str:
    """Name of the worker of a tier."""
    return f"tier.{name}"


def worker_command(key: str, concurrency: int) -> list[str]:
    """The command of a worker, given its name."""
    queue = ["--control"] if key == CONTROL else ["--tiers", key.removeprefix("tier.")]
    # The planner decides for one job at a time: it needs one process only.
    processes = 1 if key == CONTROL else concurrency
    return [
        sys.executable, "-P", "-m", "cascade_batch",
        "worker", *queue, "--concurrency", str(processes),
    ]  # fmt: skip


def import_environment() -> dict[str, str]:
    """What a child needs to import this very package, where it is not installed but checked out."""
    root = str(Path(__file__).parents[2])
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    if root in installed:
        return {}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([root, others] if others else [root])}


@dataclass(slots=True)
class _Worker:
    child: Child
    env: Mapping[str, str]
    started_at: float


@dataclass(slots=True)
class _Place:
    """One worker's place: who is in it, and until when somebody is wanted."""

    wanted_until: float
    worker: _Worker | None = None
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _Leaver:
    """A worker that was asked to stop, and by when it should have."""

    key: str
    child: Child
    deadline: float
    is_pressed: bool = False


class Workers:
    """The workers of a stack. Not for several threads at once; `tick` it several times a second."""

    def __init__(
        self,
        home: Home,
        *,
        command: Callable[[str], list[str]],
        linger_s: float,
        changed: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is started yet.

        Args:
            home: Where logs go.
            command: The command of a worker, given its name.
            linger_s: How long a worker stays after it was last wanted.
            changed: Called after a process was started or has ended.
            now: Seconds on a clock that only goes forward.
        """
        self._home = home
        self._command = command
        self._linger_s = linger_s
        self._changed = changed
        self._now = now
        self._services: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._places: dict[str, _Place] = {}
        self._leavers: list[_Leaver] = []

    def connect(self, services: Mapping[str, str]) -> None:
        """Say where the services are; workers that know other ones are replaced.

        Args:
            services: Environment variables.
        """
        if services == self._services:
            return
        self._services = dict(services)
        for key, place in self._places.items():
            if place.worker is not None and not _has(place.worker.env, services):
                self._retire(key)

    def want(self, tiers: Iterable[str]) -> None:
        """Say that these tiers have work now."""
        names = [tier_key(name) for name in tiers]
        for key in [*names, CONTROL] if names else []:
            until = self._now() + self._linger_s
            self._places.setdefault(key, _Place(until)).wanted_until = until

    def hand_over(self, tiers: Iterable[str], env: Mapping[str, str]) -> None:
        """Give workers variables (keys); those of these tiers that lack them are replaced."""
        self._keys.update(env)
        for key in [tier_key(name) for name in tiers]:
            place = self._places.get(key)
            if place and place.worker and not _has(place.worker.env, env):
                self._retire(key)

    def adopt(self, key: str, ref: ProcessRef) -> None:
        """Take over a worker of a killed supervisor, and the keys that it holds."""
        process = ref.process()
        if process is None:
            return
        try:
            env = process.environ()
        except psutil.Error:
            env = {}  # it is replaced, as one that knows other services
        for name, value in env.items():
            if name not in os.environ:
                self._keys.setdefault(name, value)
        until = self._now() + self._linger_s
        self._places[key] = _Place(until, _Worker(Child(ref), env, self._now()))

    def retire_stranger(self, key: str, ref: ProcessRef) -> None:
        """Ask a worker of a killed supervisor to stop."""
        self._ask_to_stop(key, Child(ref))

    def tick(self) -> None:
        """Start, start again, retire, force: whatever is due."""
        for key, place in list(self._places.items()):
            if self._now() > place.wanted_until:
                self._retire(key)
                del self._places[key]
                continue
            if place.worker is not None and not place.worker.child.is_alive:
                self._note_end(key, place, place.worker)
            if place.worker is None and self._services and self._now() >= place.not_before:
                self._start(key, place)
        self._press_leavers()

    def stop(self) -> None:
        """Ask all to stop; `tick` until `is_empty`."""
        for key in list(self._places):
            self._retire(key)
        self._places.clear()

    def hurry(self) -> None:
        """Wait no longer for those that were asked to stop."""
        for leaver in self._leavers:
            leaver.deadline = min(leaver.deadline, self._now())

    @property
    def is_empty(self) -> bool:
        """Whether no process is left."""
        return not self._leavers and all(p.worker is None for p in self._places.values())

    def refs(self) -> Iterator[tuple[str, ProcessRef]]:
        """All processes, those that are on their way out as well."""
        for key, place in self._places.items():
            if place.worker is not None:
                yield key, place.worker.child.ref
        for leaver in self._leavers:
            yield leaver.key, leaver.child.ref

    def _start(self, key: str, place: _Place) -> None:
        env = {**os.environ, **import_environment(), **self._keys, **self._services}
        child = start(
            self._command(key), log=self._home.log(f"worker-{key}"), env=env, cwd=self._home.folder
        )
        place.worker = _Worker(child, env, self._now())
        logger.info("worker %s started (process %d)", key, child.ref.pid)
        self._changed()

    def _note_end(self, key: str, place: _Place, worker: _Worker) -> None:
        place.worker = None
        if self._now() - worker.started_at > _STABLE_S:
            place.failures = 0
        backoff_s = min(_FIRST_BACKOFF_S * 2**place.failures, _LONGEST_BACKOFF_S)
        place.failures += 1
        place.not_before = self._now() + backoff_s
        # Its children have no parent to report to any more.
        _kill_group(worker.child)
        logger.warning(
            "worker %s ended with exit code %s; it starts again in %.1f s; its log is %s",
            key,
            worker.child.exit_code,
            backoff_s,
            self._home.log(f"worker-{key}"),
        )
        self._changed()

    def _retire(self, key: str) -> None:
        place = self._places[key]
        worker, place.worker = place.worker, None
        place.failures, place.not_before = 0, 0.0
        if worker is not None:
            self._ask_to_stop(key, worker.child)

    def _ask_to_stop(self, key: str, child: Child) -> None:
        logger.info("worker %s is asked to stop (process %d)", key, child.ref.pid)
        child.ref.send(signal.SIGTERM)
        self._leavers.append(_Leaver(key, child, self._now() + GRACE_S))

    def _press_leavers(self) -> None:
        before = len(self._leavers)
        for leaver in list(self._leavers):
            overdue_s = self._now() - leaver.deadline
            if not leaver.child.is_alive:
                _kill_group(leaver.child)
                self._leavers.remove(leaver)
                logger.info("worker %s has stopped", leaver.key)
            elif overdue_s >= QUIT_S:
                logger.warning("worker %s is killed", leaver.key)
                _kill_group(leaver.child)
            elif overdue_s >= 0 and not leaver.is_pressed:
                leaver.child.ref.send(signal.SIGQUIT)
                leaver.is_pressed = True
        if len(self._leavers) < before:
            self._changed()


def _has(env: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(env.get(name) == value for name, value in wanted.items())


def _kill_group(child: Child) -> None:
    """Kill a worker's process and whatever it has forked."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
        os.killpg(child.ref.pid, signal.SIGKILL)
