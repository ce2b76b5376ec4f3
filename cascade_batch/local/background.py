"""What runs beside a supervisor's loop: threads that are kept alive, logs that are kept short."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_RESTART_S = 1.0
_LOG_BYTES = 10 * 2**20


class Background:
    """A function that runs in a thread until it is told to stop, again if it fails."""

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        self._name = name
        self._run = run
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started_at = 0.0

    def keep(self) -> None:
        """Start it if it does not run."""
        is_running = self._thread is not None and self._thread.is_alive()
        if is_running or self._stop.is_set():
            return
        if time.monotonic() - self._started_at < _RESTART_S:
            return
        self._started_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name=self._name, daemon=True
        )
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask it to stop; it is not started again."""
        self._stop.set()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end."""
        if self._thread is not None:
            self._thread.join(timeout_s)


def trim_logs(folder: Path, limit_bytes: int = _LOG_BYTES) -> None:
    """Keep every log below a limit, and one older part of it beside it.

    Copied and cut, not renamed: the processes go on writing into the same open file, to the end of
    it, whatever length it has by then.
    """
    for log in folder.glob("*.log"):
        if log.stat().st_size > limit_bytes:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            with log.open("r+b") as file:
                file.truncate(0)
