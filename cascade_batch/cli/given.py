"""What options take: files that have to be there, and words of which there are few. Who mistypes one is told
the one that is nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import click

from cascade_batch.errors import UsageError
from cascade_batch.near_names import did_you_mean, file_beside

T = TypeVar("T")


def require_file(path: Path) -> None:
    """Make sure that there is something of this name.

    Raises:
        UsageError: There is not; the hint names a file beside it with a similar name.
    """
    if path.exists():
        return
    away = "" if path.parent.is_dir() else f", and no folder {path.parent} either"
    raise UsageError(
        f"{path}: there is no such file{away}.",
        hint=file_beside(path) or "Check the name and the working folder.",
    )


def check_file(_ctx: click.Context, _parameter: click.Parameter, given: T) -> T:
    """A callback of options that name a file, or give a text that may come from one (`@FILE`).

    Raises:
        UsageError: There is no such file.
    """
    if isinstance(given, Path) and str(given) != "-":
        require_file(given)
    elif isinstance(given, str) and given.startswith("@"):
        require_file(Path(given[1:]))
    return given


class OneOf(click.Choice[str]):
    """One of a few words."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is allowed, and what may be meant."""
        meant = did_you_mean(str(value), map(str, self.choices))
        said = super().get_invalid_choice_message(value, ctx)
        return f"{said} {meant}" if meant else said
