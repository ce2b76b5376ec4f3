"""Waiting for a job: when to look again, when to stop, and what is shown meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from cascade_batch.client.looking import Sight, pauses_s
from cascade_batch.client.pace import Pace
from cascade_batch.client.progress import Progress, progress_of
from cascade_batch.client.telling import advice
from cascade_batch.domain.job import JobState

LINE_EVERY_S = 5.0

Show = Callable[[Progress], object]


class Waiting:
    """One wait for one job. Looks nowhere and sleeps nowhere itself, so that it serves any kind of loop."""

    def __init__(self, show: Show, timeout_s: float | None) -> None:
        self._show = show
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._pauses_s = pauses_s()
        self._pace = Pace()

    def see(self, sight: Sight) -> tuple[Progress, float | None]:
        """Show what was seen.

        Returns:
            How far the job is, and how long to wait for the next look, in seconds; None: the job is over.

        Raises:
            TimeoutError: The time is up. The job goes on.
        """
        self._pace.note(sight.status, time.monotonic())
        progress = progress_of(sight, self._pace)
        self._show(progress)
        if progress.is_over:
            return progress, None
        pause_s = next(self._pauses_s)
        if self._until is not None:
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"The wait is over, the job is not: {progress}")
            pause_s = min(pause_s, left_s)
        return progress, pause_s


def make_show(progress: bool | Show) -> Show:
    """What shows progress: the caller's function, or what suits the place where the program runs."""
    if callable(progress):
        return progress
    if not progress:
        return lambda _: None
    return LiveTable() if notebook() is not None else LinesOfText()


def notebook() -> Any:
    """IPython's shell, if it shows HTML; None in a script, at a prompt and in a terminal's IPython."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return None if type(shell).__name__ in ("NoneType", "TerminalInteractiveShell") else shell


class LiveTable:
    """A table in a notebook's cell that changes in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        if self._handle is None:
            from IPython.display import display

            self._handle = display(progress, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(progress)


class LinesOfText:
    """Lines on standard error: at first, every few seconds, and at the end, with what is to be done then."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write a line, if it is time for one."""
        now = time.monotonic()
        if now < self._due and not progress.is_over:
            return
        self._due = now + LINE_EVERY_S
        lines = [str(progress)]
        # What a job failed by is raised, together with what to do.
        if progress.is_over and progress.status is not JobState.FAILED:
            lines += [f"{progress.job}: {clause}." for clause in advice(progress)]
        for line in lines:
            text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
