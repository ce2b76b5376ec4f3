"""Errors as a Python program meets them: their hints name arguments, and a traceback shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from cascade_batch.errors import CascadeError

_FLAGS = {name: f"{name}=True" for name in ("skip_bad", "start_early", "allow_python_checks")}
_OPTION = re.compile(
    # What stands in backquotes or begins with the command's name is to be typed in a shell.
    r"`[^`]*`|cascade-batch [^\n;,)]*"
    r"|(?<![\w-])--(?P<name>[a-z]+(?:-[a-z]+)*)(?: (?P<value>[\d.,]*\d|[A-Z]{2,}\b|'[^'\n]*'))?"
)


@contextmanager
def python_words() -> Iterator[None]:
    """Say errors of the block for Python: `--skip-bad` is `skip_bad=True`, and the hint is a note.

    Raises:
        CascadeError: The block's own, of its own class.
    """
    try:
        yield
    except CascadeError as error:
        error.message = in_python(error.message)
        error.args = (error.message,)
        if error.hint is not None:
            error.hint = in_python(error.hint)
            if error.hint not in getattr(error, "__notes__", ()):
                error.add_note(error.hint)
        raise


def in_python(text: str) -> str:
    """The text with options of the command line as arguments of Python."""
    return _OPTION.sub(_argument, text)


def _argument(found: re.Match[str]) -> str:
    if found["name"] is None:
        return found[0]
    name = found["name"].replace("-", "_")
    if found["value"] is not None:
        value = found["value"]
        return f"{name}={value.replace(',', '') if value[0].isdigit() else value}"
    return _FLAGS.get(name, name)
