"""How messages call what their reader can do: options and commands, or arguments and calls.

An error is made once, deep down, whoever asked. What it tells the reader to type depends on where they stand:
at the command line, or in a Python program. So messages name such things by the functions of this module, in
the middle of an f-string, and the Python API says around each of its calls that Python is spoken there
(`speaking_python`). Nothing that was written is changed afterwards: a job called `--name`, or a provider that
complains of `--output`, keeps its words.

Texts that are stored (why a job is paused, say) are read by people of both kinds. They name nothing to type:
whoever shows them says what comes next.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PYTHON: ContextVar[bool] = ContextVar("python is spoken", default=False)


@contextmanager
def speaking_python() -> Iterator[None]:
    """Messages made in the block, by this thread or task, are for a Python program."""
    token = _PYTHON.set(True)
    try:
        yield
    finally:
        _PYTHON.reset(token)


def in_python() -> bool:
    """Whether the reader of a message that is made now is a Python program's."""
    return _PYTHON.get()


def place(name: str) -> str:
    """What was given and is wrong: `--chunk-rows`, or `chunk_rows`."""
    return name if in_python() else _option(name)


def argument(name: str, value: object = None) -> str:
    """What to give: `--budget 5`, or `budget=5`; without a value `--name`, or `name=`.

    A flag's value is True: `--skip-bad`, or `skip_bad=True`.
    """
    if in_python():
        return f"{name}={'' if value is None else value}"
    return _option(name) if value is None or value is True else f"{_option(name)} {value}"


def command(verb: str, job: str, *options: str, call: str | None = None) -> str:
    """What to do to a job: `cascade-batch resume x`, or `cascade_batch.job('x').resume()`.

    Args:
        verb: The command.
        options: What stands behind the job's name in a shell.
        call: The method with its arguments; None: Python has none, so that the shell's word is given.
    """
    if in_python() and call is not None:
        return f"cascade_batch.job({job!r}).{call}"
    return " ".join(["cascade-batch", verb, shlex.quote(job), *options])


def choose(*, command_line: str, python: str) -> str:
    """Of two ways to say it, the reader's."""
    return python if in_python() else command_line


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
