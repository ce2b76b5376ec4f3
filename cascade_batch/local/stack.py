"""The embedded stack as a command sees it: there when needed, and found again in a moment."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cascade_batch import __version__
from cascade_batch.errors import ServiceUnreachableError, UsageError
from cascade_batch.local import control
from cascade_batch.local.home import Home, StackState
from cascade_batch.local.processes import Child, ProcessRef, last_lines, start
from cascade_batch.local.valkey import BrokerAddress
from cascade_batch.local.workers import import_environment
from cascade_batch.settings import Settings

START_TIMEOUT_S = 300.0
"""How long to wait for a start: a stack that stops first, then a database that replays its log."""
STOP_TIMEOUT_S = 150.0

_present: dict[tuple[int, ProcessRef], control.Client] = {}
"""Open connections to supervisors, by our process (a fork has its own) and theirs."""
_meeting = threading.Lock()
"""Held by the thread that looks whether there is one."""
_started: list[Child] = []
"""Supervisors that this process started: one that ends before us is reaped."""


@dataclass(frozen=True, slots=True)
class Services:
    """Where the database and the broker are; both URLs hold a password."""

    database_url: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Part:
    """A running part of a stack.

    Attributes:
        name: `supervisor`, `postgres`, `valkey` or a worker's name.
        pid: Its process.
        uptime_s: Seconds since it started.
        memory_bytes: What it and its children take, memory that they share counted once.
    """

    name: str
    pid: int
    uptime_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What runs of an embedded stack.

    Attributes:
        home: Its folder.
        version: Version of this package that it runs; None if nothing runs.
        is_watched: Whether a supervisor is there (if not, the next command starts one).
        services: Where the servers are; None if one of them does not run.
        parts: What runs.
    """

    home: Path
    version: str | None
    is_watched: bool
    services: Services | None
    parts: tuple[Part, ...]


def ensure_stack(
    settings: Settings,
    *,
    tiers: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Services:
    """Make sure that the services are there, starting the embedded stack if that is what serves.

    The stack stays at least as long as this process, and until it was idle for a while.

    Args:
        settings: Where the services are.
        tiers: Tiers that need a worker now.
        env: Variables with keys that those workers need; kept in memory only.
        secrets: Variables that the sweeper needs to tell of jobs, likewise.

    Returns:
        The URLs; those of the settings where they are given.

    Raises:
        ServiceUnreachableError: A server can't be started; says which variables to set instead.
        UsageError: The home can't be used, or was made by another version.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        return Services(settings.database_url, settings.redis_url)
    home = Home.at(settings.home)
    keys = dict(env or {})
    services = _ask(home, tiers, keys, secrets)
    if services is not None:
        return services
    with home.lock("start", timeout_s=START_TIMEOUT_S):
        services = _ask(home, tiers, keys, secrets)
        if services is None:
            state = home.read_state()
            if state is not None and state.version != __version__:
                _stop_supervisor(home, state)
            _start_supervisor(home, settings, tiers, keys)
            services = _ask(home, tiers, keys, secrets)
    if services is None:
        raise ServiceUnreachableError(
            "The embedded stack stopped as soon as it had started.",
            hint=f"See {home.log('supervisor')}.",
        )
    return services


def stop_stack(settings: Settings) -> bool:
    """Stop the embedded stack: workers settle the calls in flight, then the servers stop.

    Returns:
        Whether anything ran.

    Raises:
        ServiceUnreachableError: It did not stop in time.
    """
    if not settings.home.exists():
        return False  # and nothing is made in order to be told so
    home = Home.at(settings.home)
    with home.lock("start", timeout_s=START_TIMEOUT_S):
        state = home.read_state()
        if state is None or not _parts(state):
            return False
        if not state.supervisor.is_alive:
            # It was killed. A new one knows how to find and stop what is left.
            _start_supervisor(home, settings, (), {})
            state = home.read_state()
        if state is not None:
            _stop_supervisor(home, state)
    return True


def stack_status(settings: Settings) -> StackStatus:
    """What runs now; starts nothing."""
    home = Home.at(settings.home)
    state = home.read_state()
    parts = _parts(state) if state else ()
    names = {part.name for part in parts}
    return StackStatus(
        home=home.folder,
        version=state.version if state and parts else None,
        is_watched="supervisor" in names,
        services=_services(state) if state and {"postgres", "valkey"} <= names else None,
        parts=parts,
    )


def _ask(
    home: Home,
    tiers: Sequence[str],
    keys: Mapping[str, str],
    secrets: Mapping[str, str] | None,
) -> Services | None:
    """Ask the supervisor that runs for what we need; None where there is none that could give it."""
    state = home.read_state()
    if state is None or state.version != __version__:
        return None
    client = _client(state)
    if client is not None and not client.ask("ensure_tiers", names=tiers, env=keys):
        _forget(state)
        return None
    if client is not None and secrets:
        client.ask("keep_secrets", env=secrets)
    # Asked first, read then: what is written down now is what the supervisor has promised to keep.
    state = home.read_state()
    return _services(state) if client is not None and state is not None else None


def _client(state: StackState) -> control.Client | None:
    """This process's connection to a supervisor; None where nobody listens."""
    key = (os.getpid(), state.supervisor)
    with _meeting:
        if key not in _present:
            try:
                _present[key] = control.Client(state.control)
            except OSError:
                return None
        return _present[key]


def _forget(state: StackState) -> None:
    client = _present.pop((os.getpid(), state.supervisor), None)
    if client is not None:
        client.close()


def _services(state: StackState) -> Services:
    address = BrokerAddress(state.valkey_port, state.valkey_password)
    return Services(state.database_url, address.url)


def _start_supervisor(
    home: Home, settings: Settings, tiers: Sequence[str], keys: Mapping[str, str]
) -> None:
    """Start a supervisor and wait until its stack is ready.

    Raises:
        CascadeError: It is not; what the supervisor said about it.
    """
    ready, told = os.pipe()
    try:
        child = start(
            [sys.executable, "-P", "-m", "cascade_batch.local.supervisor",
             "--home", home.folder, "--tiers", ",".join(tiers), "--ready-fd", str(told)],
            log=home.log("supervisor"),
            env=_supervisor_environment(home, settings, keys),
            cwd=home.folder,
            pass_fds=(told,),
        )  # fmt: skip
        _started.append(child)
    finally:
        os.close(told)
    with os.fdopen(ready) as pipe:
        if not select.select([pipe], [], [], START_TIMEOUT_S)[0]:
            raise ServiceUnreachableError(
                f"The embedded stack is not ready after {START_TIMEOUT_S:.0f} s.",
                hint=f"See {home.log('supervisor')}.",
            )
        answer = pipe.readline()
    if not answer:
        raise ServiceUnreachableError(
            "The embedded stack's supervisor ended while it started. Its log ends:\n"
            + last_lines(home.log("supervisor")),
            hint=f"The whole log is {home.log('supervisor')}.",
        )
    failure: dict[str, str] = json.loads(answer)
    if failure:
        kind = UsageError if failure["kind"] == "UsageError" else ServiceUnreachableError
        raise kind(failure["message"], hint=failure["hint"])


def _supervisor_environment(
    home: Home, settings: Settings, keys: Mapping[str, str]
) -> dict[str, str]:
    """Our own environment (keys are in it), and these settings, wherever they came from."""
    env = {**os.environ, **import_environment(), **keys}
    env.pop("CASCADE_DATABASE_URL", None)
    env.pop("CASCADE_REDIS_URL", None)
    return env | {
        "CASCADE_HOME": str(home.folder),
        "CASCADE_LEASE_S": str(settings.lease_s),
        "CASCADE_IDLE_STOP_S": str(settings.idle_stop_s),
        "CASCADE_LOCAL_WORKERS": str(settings.local_workers),
    }


def _stop_supervisor(home: Home, state: StackState) -> None:
    client = _client(state)
    if client is None or not client.ask("stop"):
        state.supervisor.send(signal.SIGTERM)
    is_over = state.supervisor.wait(STOP_TIMEOUT_S)
    _forget(state)
    if not is_over:
        raise ServiceUnreachableError(
            f"The embedded stack did not stop within {STOP_TIMEOUT_S:.0f} s.",
            hint=f"See {home.log('supervisor')}.",
        )


def _parts(state: StackState) -> tuple[Part, ...]:
    """What runs of a stack."""
    named = [
        ("supervisor", state.supervisor),
        ("postgres", state.postgres),
        ("valkey", state.valkey),
        *((f"worker {key}", ref) for key, ref in state.workers),
    ]
    parts = [_part(name, ref) for name, ref in named if ref is not None]
    return tuple(part for part in parts if part is not None)


def _part(name: str, ref: ProcessRef) -> Part | None:
    process = ref.process()
    if process is None:
        return None
    # The supervisor's children are parts of their own.
    family = [process] if name == "supervisor" else [process, *process.children(recursive=True)]
    return Part(name, ref.pid, max(0.0, time.time() - ref.started_at), _memory_bytes(family))


def _memory_bytes(family: Sequence[psutil.Process]) -> int:
    private, shared = 0, 0
    for process in family:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        its_shared = getattr(memory, "shared", 0)
        private += memory.rss - its_shared
        shared = max(shared, its_shared)
    return private + shared
