"""Warnings that point at the line of the program that asked, whatever lies between."""

from __future__ import annotations

import inspect
import warnings

from cascade_batch.errors import JobWarning

_PACKAGE = __name__.partition(".")[0] + "."


def warn(text: str) -> None:
    """Warn the caller of the package: a `JobWarning`."""
    level = 1
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(text, JobWarning, stacklevel=max(level, 2))
