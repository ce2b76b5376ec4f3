"""Whether a worker's children are at work, as their main process sees it without talking to them.

A main process that has lost its broker may have lost its children's answers as well. So each child holds
a shared lock on a file without a name while it works, which the kernel takes back from the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator

_file = tempfile.TemporaryFile()  # noqa: SIM115 - made before the fork, open as long as the worker lives


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Count as at work while the block lasts."""
    fcntl.lockf(_file, fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.lockf(_file, fcntl.LOCK_UN)


def is_any_child_at_work() -> bool:
    """Whether a process that was forked from this one is inside `at_work`."""
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # systems differ in what they say
        return True
    fcntl.lockf(_file, fcntl.LOCK_UN)
    return False
