"""Who the servers run as, and what that account can reach.

Postgres refuses to run as root, so root's servers run as `nobody`. That account can't enter most
homes, so programs and data that lie in a closed one are kept in a folder of the system instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_batch.errors import UsageError

_SYSTEM_FOLDER = Path("/var/lib/cascade-batch")
_NOBODY_ID = 65534

OWN_SERVICES_HINT = (
    "Set CASCADE_DATABASE_URL and CASCADE_REDIS_URL to use a Postgres and a Redis of your own."
)


@dataclass(frozen=True, slots=True)
class Account:
    """User and group that the servers run as."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """Whether it is the account of this process."""
        return self.uid == os.geteuid()

    def popen_options(self) -> Mapping[str, Any]:
        """What `subprocess.Popen` needs to start a process under this account."""
        if self.is_ours:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_pass(self, folder: Path) -> bool:
        """Whether it may go through a folder, and through every folder above it."""
        if self.is_ours:
            return True
        folder = folder.resolve()
        return all(self._may(f, stat.S_IXOTH) for f in (folder, *folder.parents))

    def can_read(self, folder: Path) -> bool:
        """Whether it may also list what is in the folder."""
        return self.is_ours or (self.can_pass(folder) and self._may(folder, stat.S_IROTH))

    def _may(self, folder: Path, bits: int) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            bits <<= 6
        elif status.st_gid == self.gid:
            bits <<= 3
        return status.st_mode & bits == bits

    def give(self, path: Path) -> None:
        """Make it the owner of a file or folder."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """Ourselves, or `nobody` where we are root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY_ID, _NOBODY_ID)
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable_programs(folder: Path, name: str, account: Account) -> Path:
    """The folder itself where the account can run what is in it, else a copy that it can reach.

    Args:
        folder: Programs with all that they need beside them.
        name: Name of the copy; holds the version, so that an upgrade makes a new one.
        account: Who is going to run them.
    """
    if account.can_read(folder):
        return folder
    copies = own_folder(_system_folder() / "programs", mode=0o755)
    copy = copies / name
    if not copy.exists():
        # Copied under another name, then renamed: nobody ever sees half a copy.
        half = Path(tempfile.mkdtemp(dir=copies, prefix=f".{name}-"))
        shutil.copytree(folder, half, symlinks=True, dirs_exist_ok=True, ignore=_not_needed)
        half.chmod(0o755)
        try:
            half.rename(copy)
        except OSError:
            shutil.rmtree(half)
            if not copy.exists():
                raise
    return copy


def reachable_data(wanted: Path, account: Account) -> Path:
    """A place for a data folder that the account can reach, `wanted` itself if it can.

    Else `wanted` becomes a link to a folder of the system, so that it stays findable. The folder
    itself is not created.
    """
    if wanted.is_symlink():
        return wanted.resolve()
    if wanted.exists() or account.can_pass(wanted.parent):
        return wanted.resolve()
    place = Path(tempfile.mkdtemp(dir=own_folder(_system_folder() / "data", mode=0o711)))
    place.chmod(0o711)
    target = place / wanted.name
    wanted.symlink_to(target)
    return target


def own_folder(folder: Path, *, mode: int) -> Path:
    """A folder that is ours; created with this mode if missing, left as it is otherwise.

    Raises:
        UsageError: It can't be created, or what is there belongs to somebody else.
    """
    try:
        if not folder.exists():
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            folder.chmod(mode)  # whatever the umask is
        owner = folder.stat().st_uid
    except OSError as error:
        raise UsageError(
            f"The folder {folder} can't be used: {error.strerror}.",
            hint="Set CASCADE_HOME to a folder of your own.",
        ) from error
    if owner != os.geteuid():
        raise UsageError(
            f"The folder {folder} belongs to another user.",
            hint="Set CASCADE_HOME to a folder of your own.",
        )
    return folder


def _system_folder() -> Path:
    if not _SYSTEM_FOLDER.parent.is_dir():
        raise UsageError(
            "As root, the embedded servers run as `nobody`, which can't enter the folders that"
            " hold their programs or data.",
            hint="Set CASCADE_HOME to a folder that every user may enter. " + OWN_SERVICES_HINT,
        )
    return own_folder(_SYSTEM_FOLDER, mode=0o755)


def _not_needed(folder: str, names: list[str]) -> set[str]:
    """Headers and static libraries: nothing that a server loads."""
    return {n for n in names if n.endswith(".a") or (n == "include" and Path(folder, n).is_dir())}
