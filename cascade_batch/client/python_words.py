"""Errors as a Python program meets them: they name arguments and methods, and tracebacks show their hints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cascade_batch.errors import CascadeError
from cascade_batch.words import speaking_python


@contextmanager
def python_words() -> Iterator[None]:
    """Speak Python in the block, and have the hint of an error that leaves it be a note.

    Raises:
        CascadeError: The block's own.
    """
    try:
        with speaking_python():
            yield
    except CascadeError as error:
        if error.hint is not None and error.hint not in getattr(error, "__notes__", ()):
            error.add_note(error.hint)
        raise
