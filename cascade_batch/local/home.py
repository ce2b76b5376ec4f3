"""What lies where in `CASCADE_HOME`, and the locks and the note by which a running stack is found."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.local.account import Account, own_folder, server_account
from cascade_batch.local.processes import ProcessRef

_LOCK_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one embedded stack.

    Attributes:
        folder: `CASCADE_HOME`, resolved.
        account: Who the servers run as.
    """

    folder: Path
    account: Account

    @classmethod
    def at(cls, folder: Path) -> Home:
        """A home, its folders created if missing.

        Raises:
            UsageError: A folder can't be created, or belongs to another user.
        """
        account = server_account()
        # A server that runs as another account has to get through to its own folders.
        mode = 0o700 if account.is_ours else 0o711
        home = cls(own_folder(folder.absolute(), mode=mode).resolve(), account)
        own_folder(home.run, mode=mode)
        own_folder(home.logs, mode=0o700)
        return home

    @property
    def run(self) -> Path:
        """What belongs to the stack that runs now."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """A file per process."""
        return self.folder / "logs"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"

    def read_state(self) -> StackState | None:
        """The note of the stack that runs, or that was killed; None where there is none."""
        try:
            return StackState.from_json((self.run / "stack.json").read_text())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # an unreadable note is as good as none: servers are found by other ways

    def write_state(self, state: StackState) -> None:
        """Replace the note, whole or not at all; readable by us alone, as passwords are in it."""
        handle, name = tempfile.mkstemp(dir=self.run, prefix=".stack-")
        with os.fdopen(handle, "w") as file:
            file.write(state.to_json())
        Path(name).replace(self.run / "stack.json")

    def remove_state(self) -> None:
        """Remove the note: nothing runs any more."""
        (self.run / "stack.json").unlink(missing_ok=True)

    @contextmanager
    def lock(self, name: str, *, timeout_s: float) -> Iterator[None]:
        """Hold a lock of this home; the kernel frees it when its holder ends, however it ends.

        Args:
            name: `start`, for who starts a supervisor; `supervisor`, for who is it.
            timeout_s: How long to wait for another holder.

        Raises:
            ServiceUnreachableError: Another process held it all that time.
        """
        handle = os.open(self.run / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + timeout_s
            while not _try_lock(handle):
                if time.monotonic() > deadline:
                    raise ServiceUnreachableError(
                        f"Another process has been starting or stopping the embedded stack in"
                        f" {self.folder} for {timeout_s:.0f} s.",
                        hint=f"See {self.log('supervisor')}, or run `cascade-batch down`.",
                    )
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class StackState:
    """The note about a running stack, in `run/stack.json`.

    Attributes:
        version: Version of this package that the stack runs.
        supervisor: The process that watches over the others.
        control: Path of the supervisor's socket.
        database_url: URL of Postgres, password included.
        postgres: Postgres's process.
        valkey: Valkey's process.
        valkey_port: Its port on the loopback interface.
        valkey_password: What it asks for.
        workers: Worker processes by name, those on their way out included.
        temporary_folders: Folders for sockets outside the home, to be removed with the stack.
    """

    version: str
    supervisor: ProcessRef
    control: str
    database_url: str = field(default="", repr=False)
    postgres: ProcessRef | None = None
    valkey: ProcessRef | None = None
    valkey_port: int = 0
    valkey_password: str = field(default="", repr=False)
    workers: tuple[tuple[str, ProcessRef], ...] = ()
    temporary_folders: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The note as it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StackState:
        """Read a note.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        fields: dict[str, Any] = json.loads(text)
        for name in ("supervisor", "postgres", "valkey"):
            if fields[name] is not None:
                fields[name] = ProcessRef(**fields[name])
        fields["workers"] = tuple((name, ProcessRef(**ref)) for name, ref in fields["workers"])
        fields["temporary_folders"] = tuple(fields["temporary_folders"])
        return cls(**fields)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
