"""Processes that outlive whoever started them: found again, watched and stopped by reference."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cascade_batch.local.account import Account

_SAME_START_S = 2.0
"""A process's start is computed from the time of boot, which moves when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process, told apart from a later one that got the same number.

    Attributes:
        pid: Its number.
        started_at: When it started, in seconds since 1970.
    """

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """The process that has this number now, if any."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    @classmethod
    def of_ourselves(cls) -> ProcessRef:
        """This process."""
        return cls(os.getpid(), psutil.Process().create_time())

    def process(self) -> psutil.Process | None:
        """The process while it runs (one that waits to be reaped does not)."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started_at) < _SAME_START_S
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process() is not None

    def send(self, signal_no: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to the process group that it leads; ended already is fine."""
        if not self.is_alive:
            return
        try:
            if group:
                os.killpg(self.pid, signal_no)
            else:
                os.kill(self.pid, signal_no)
        except ProcessLookupError:
            pass

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False if it still runs after that time."""
        process = self.process()
        if process is None:
            return True
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            return not self.is_alive
        return True

    def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """End it: each signal in turn, with the seconds it is given, and SIGKILL last."""
        for signal_no, patience_s in steps:
            self.send(signal_no)
            if self.wait(patience_s):
                return
        self.send(signal.SIGKILL)
        self.wait(5.0)


class Child:
    """A process that we started or adopted, in a session of its own and logging to a file."""

    def __init__(self, ref: ProcessRef, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.ref = ref
        self._popen = popen

    @property
    def is_alive(self) -> bool:
        """Whether it runs; reaps it if it ended and was started by us."""
        if self._popen is not None:
            return self._popen.poll() is None
        return self.ref.is_alive

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs or if adopted."""
        return None if self._popen is None else self._popen.poll()


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    account: Account | None = None,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a process that survives us and every terminal.

    Args:
        command: Program and arguments.
        log: File that its output is appended to.
        env: Its whole environment.
        cwd: Its working folder.
        account: Who it runs as, if not as ourselves.
        pass_fds: Files of ours that it inherits, besides its output.
        stdin: What it reads from its standard input: for secrets, as everybody can list arguments.
    """
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
            **(account.popen_options() if account else {}),
        )
    started = ProcessRef.of(popen.pid)
    if popen.stdin is not None:
        try:
            popen.stdin.write(stdin)
            popen.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once; whoever waits for it to be ready reads why in its log
    return Child(started or ProcessRef(popen.pid, time.time()), popen)


def wait_until(
    is_ready: Callable[[], bool], child: Child, *, timeout_s: float, every_s: float = 0.01
) -> bool:
    """Ask until it is ready; False as soon as the process has ended, or after the time given."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_ready():
            return True
        if not child.is_alive:
            return False
        time.sleep(every_s)
    return False


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-count:])
