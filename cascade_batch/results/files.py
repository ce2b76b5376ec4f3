"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_batch.errors import CascadeError, UsageError


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """Give a place to write to; what is there at the end of the block appears as `path`.

    An earlier file of that name is kept until then, and for good if the block fails.

    Args:
        path: The file to be written.
        what: What is safe in the database all the same, for the message: `the results are`.

    Raises:
        UsageError: The folder is missing.
        CascadeError: The file could not be written.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: there is no such folder.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise CascadeError(
            f"{path} could not be written: {error.strerror or error}.",
            hint=f"Make room or choose another place; {what} safe in the database.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
