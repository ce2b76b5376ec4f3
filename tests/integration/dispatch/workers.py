"""Worker processes of a test, started as a user would start them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil


class WorkerProcess:
    """A `cascade-batch worker` with its children, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Of its main process."""
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """The processes that do the work."""
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def family(self) -> list[psutil.Process]:
        """Its main process and all below."""
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """All of it, at once, without a word."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """None: it runs."""
        return self._process.poll()

    def log(self) -> str:
        return self._log.read_text()


@contextlib.contextmanager
def worker_process(
    folder: Path,
    database_url: str,
    redis_url: str,
    *arguments: str,
    program: Sequence[str] = ("-m", "cascade_batch"),
    **variables: str,
) -> Iterator[WorkerProcess]:
    """A worker for as long as the block lasts; `program`: what Python runs."""
    log = folder / f"worker-{len(list(folder.iterdir()))}.log"
    environment = os.environ | {
        "CASCADE_DATABASE_URL": database_url,
        "CASCADE_REDIS_URL": redis_url,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        # Celery warns root users at every start.
        "C_FORCE_ROOT": "1",
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "worker", *arguments],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    worker = WorkerProcess(process, log)
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
