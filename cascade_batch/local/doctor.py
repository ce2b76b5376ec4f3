"""What this machine has to offer to a job: keys, room on the disk, open files, a right clock.

Whether database, broker, workers and sweeper answer is asked by the command `doctor` itself, in the
same way for services of one's own and for the embedded ones.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cascade_batch.errors import CascadeError, ServiceUnreachableError, UsageError
from cascade_batch.local.account import server_account
from cascade_batch.local.stack import StackStatus, stack_status
from cascade_batch.local.wheels import postgres_programs, valkey_programs
from cascade_batch.settings import Settings

_LITTLE_DISK_BYTES = 5 * 2**30
_TOO_LITTLE_DISK_BYTES = 2**29
_FEW_OPEN_FILES = 4096
_TOO_FEW_OPEN_FILES = 512
_CLOCK_OFF_S = 5.0


class Level(StrEnum):
    """How a check came out: fine; fine for now, or for small jobs; a job would fail."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        level: How it is.
        what: What was found.
        todo: What to do about it; None where there is nothing to do.
    """

    name: str
    level: Level
    what: str
    todo: str | None = None


def checks(settings: Settings, *, cwd: Path) -> list[Check]:
    """Look at this machine; starts nothing and changes nothing.

    Args:
        settings: Where the services are; without URLs, the embedded stack is looked at as well.
        cwd: Folder whose tiers file names the keys to look for.
    """
    looks: list[tuple[str, Callable[[], Check]]] = []
    status: StackStatus | None = None
    if settings.is_embedded:
        looks.append(("programs", _programs))
        if settings.home.exists():
            status = stack_status(settings)
            looks.append(("stack", lambda: _stack(status)))
        looks.append(("disk", lambda: _disk(settings.home)))
    database_url = settings.database_url
    if database_url is None and status is not None and status.services is not None:
        database_url = status.services.database_url
    if database_url is not None:
        url = database_url
        looks.append(("clock", lambda: _clock(url)))
    looks += [("open files", _open_files), ("keys", lambda: _keys(cwd))]
    return [_look(name, look) for name, look in looks]


def _look(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except CascadeError as error:
        return Check(name, Level.BAD, error.message, error.hint)


def _programs() -> Check:
    account = server_account()
    postgres, valkey = postgres_programs(account), valkey_programs(account)
    runs_as = "" if account.is_ours else f", run as user {account.uid}"
    return Check(
        "programs", Level.OK, f"Postgres {postgres.version}, Valkey {valkey.version}{runs_as}"
    )


def _stack(status: StackStatus | None) -> Check:
    if status is None or not status.parts:
        return Check("stack", Level.OK, "does not run; the next command starts it")
    memory_mib = sum(part.memory_bytes for part in status.parts) / 2**20
    names = ", ".join(f"{part.name} ({part.pid})" for part in status.parts)
    what = f"{names}; {memory_mib:.0f} MiB"
    if not status.is_watched:
        return Check(
            "stack", Level.WARN, what + "; its supervisor was killed", "Run `cascade-batch up`."
        )
    return Check("stack", Level.OK, what)


def _disk(home: Path) -> Check:
    folder = next(f for f in (home, *home.absolute().parents) if f.exists())
    data = folder / "postgres"
    free = shutil.disk_usage(data.resolve() if data.exists() else folder).free
    what = f"{free / 2**30:.1f} GiB free for {home}"
    if free >= _LITTLE_DISK_BYTES:
        return Check("disk", Level.OK, what)
    return Check(
        "disk",
        Level.BAD if free < _TOO_LITTLE_DISK_BYTES else Level.WARN,
        what,
        "Make room (a row with its answers takes about 1 to 5 kB), or set CASCADE_HOME to a larger"
        " disk.",
    )


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Workers of the embedded stack raise it as far as they may.
    limit = hard if hard != resource.RLIM_INFINITY else max(soft, _FEW_OPEN_FILES)
    if limit >= _FEW_OPEN_FILES:
        return Check("open files", Level.OK, f"{limit:,} allowed")
    return Check(
        "open files",
        Level.BAD if limit < _TOO_FEW_OPEN_FILES else Level.WARN,
        f"{limit:,} allowed; every call in flight takes one",
        f"Raise the limit, for example: ulimit -n {_FEW_OPEN_FILES}",
    )


def _clock(database_url: str) -> Check:
    import psycopg

    from cascade_batch.store.engine import hide_password, libpq_url

    try:
        with psycopg.connect(libpq_url(database_url), connect_timeout=5) as connection:
            connection.execute("SELECT 1")
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
            off_s = abs(float(row[0]) - time.time()) if row else 0.0
    except psycopg.OperationalError as error:
        raise ServiceUnreachableError(
            f"The database at {hide_password(database_url)} can't be reached:"
            f" {str(error).strip().splitlines()[0]}",
            hint="Check CASCADE_DATABASE_URL and that the server runs.",
        ) from error
    what = f"{off_s:.1f} s from the database's"
    if off_s < _CLOCK_OFF_S:
        return Check("clock", Level.OK, what)
    return Check(
        "clock", Level.WARN, what, "Set the clock of this machine or of the database's (NTP)."
    )


def _keys(cwd: Path) -> Check:
    """Names only, never a value."""
    from cascade_batch.engine.tier_files import find_tiers_file, read_tiers_file

    try:
        path = find_tiers_file(cwd)
    except UsageError:
        return Check("keys", Level.OK, "no tiers file here, so none are needed yet")
    names = {tier.api_key_env for tier in read_tiers_file(path, python_path=path.parent)}
    needed = sorted(name for name in names if name is not None)
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        return Check(
            "keys",
            Level.BAD,
            f"not set: {', '.join(missing)} (named in {path})",
            f"Set it, for example: export {missing[0]}=…",
        )
    if not needed:
        return Check("keys", Level.OK, f"{path} needs none")
    return Check("keys", Level.OK, f"set: {', '.join(needed)}")
