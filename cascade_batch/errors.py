"""Every error that a user can meet.

One base class. An error says what is wrong, where, and what to do next: `message` is the first,
`hint` the last, and both are shown by the command line, which exits with `exit_code`.
"""

from __future__ import annotations


class CascadeError(Exception):
    """Base of every error that cascade-batch raises on purpose.

    Args:
        message: What is wrong and where, as a complete sentence.
        hint: What to do next, as a complete sentence; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CascadeError):
    """The command, a job file or a tiers file asks for something that can't be done."""

    exit_code = 2


class UnknownArgumentError(UsageError, TypeError):
    """A function of the Python API was given an argument that it does not have."""


class DataError(UsageError):
    """A record of a data set can't be used.

    Args:
        source: The file's name as the user gave it (`-` for standard input).
        line_no: Line of the file, counted from 1 (for Parquet, and what comes from a program: the
            record's number, from 1).
        where: What the place is called; None: `source:line_no`, or `standard input, line 3`.
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str,
        line_no: int | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        if where is None:
            where = place_in(source, line_no)
        super().__init__(f"{where}: {reason}", hint=hint)
        self.reason = reason
        self.source = source
        self.line_no = line_no


def place_in(source: str, line_no: int | None) -> str:
    """What a line of a data set is called: of a file, as editors and terminals make a link of it."""
    if source == "-":
        return "standard input" if line_no is None else f"standard input, line {line_no}"
    return source if line_no is None else f"{source}:{line_no}"


class BudgetError(UsageError):
    """The budget can't answer every row at worst case, so the job is refused before it costs anything."""


class JobNotFoundError(UsageError):
    """No job has this name."""


class JobExistsError(UsageError):
    """A job of this name exists already; names are taken once."""


class JobFailedError(CascadeError):
    """The job stopped because of something that it can't mend by itself."""


class ServiceUnreachableError(CascadeError):
    """The database or the broker can't be reached."""

    exit_code = 4


class JobWarning(UserWarning):
    """Something about a job is not well, and nothing is wrong with the call that says so."""
