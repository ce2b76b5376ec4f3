"""Folders for Unix sockets: private, and short enough for the kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cascade_batch.errors import UsageError
from cascade_batch.local.account import Account, own_folder

_PREFIX = "cascade-batch-"
_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Length that the path of a Unix socket may have."""


def private_socket_folder(wanted: Path, socket_name: str, account: Account) -> Path:
    """A folder that only the account can enter, for a socket of this name.

    It is `wanted` where the socket's path is usable and the account gets there; else a new
    one in the folder for temporary files. (The runtime folder of a login would be another choice,
    but it is removed at logout, and the servers stay.)

    Raises:
        UsageError: Every candidate's path is too long.
    """
    if _fits(wanted / socket_name) and account.can_pass(wanted.parent):
        folder = own_folder(wanted, mode=0o700) if not wanted.exists() else wanted
    else:
        folder = _temporary_folder(socket_name, account)
    account.give(folder)
    return folder


def remove_socket_folder(folder: Path, account: Account) -> None:
    """Remove a temporary folder given by `private_socket_folder`, with what is left in it.

    Anything else is left alone: its name may come from a note that another account could write.
    """
    with contextlib.suppress(FileNotFoundError):
        is_ours = folder.lstat().st_uid in (account.uid, os.geteuid())
        if is_ours and folder.name.startswith(_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder(socket_name: str, account: Account) -> Path:
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        if (
            base.is_dir()
            and account.can_pass(base)
            and _fits(base / f"{_PREFIX}12345678" / socket_name)
        ):
            # Made under a new random name with mode 0700: nobody else can have prepared it.
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    raise UsageError(
        f"No folder has a path short enough for a socket ({_PATH_BYTES} bytes).",
        hint="Set CASCADE_HOME to a folder with a shorter path.",
    )


def _fits(socket: Path) -> bool:
    # libpq takes a comma in a host for the end of it.
    return len(str(socket).encode()) <= _PATH_BYTES and "," not in str(socket)
