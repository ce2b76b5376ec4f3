"""What goes wrong between a row and its prompt."""

from __future__ import annotations

from collections.abc import Iterable

from cascade_batch.errors import UsageError


class PromptError(UsageError):
    """A record can't be made into a prompt. The caller knows the record's file and line and adds them.

    Attributes:
        reason: What is wrong, without a place.
    """

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason


def columns_shown(columns: Iterable[str]) -> str:
    """Names of columns for a message: quoted, and not endless."""
    names = [repr(name) for name in columns]
    if not names:
        return "no columns"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ("the column " if len(names) == 1 else "the columns ") + ", ".join(names[:20]) + more
