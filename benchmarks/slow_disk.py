"""A Postgres of a benchmark's own, on the disk as it is or on one whose flushes take longer.

The program and its settings are those of the embedded stack. A slower disk is a library of thirty lines that
stands between this server alone and the system (`slow_disk.c`): it waits, then flushes in earnest.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from benchmarks.rig import BenchmarkError, wait_until
from cascade_batch.local.account import reachable_data, server_account
from cascade_batch.local.postgres import SOCKET_NAME, Postgres
from cascade_batch.local.sockets import private_socket_folder, remove_socket_folder
from cascade_batch.local.wheels import Programs, postgres_programs
from cascade_batch.store.engine import libpq_url

_SOURCE = Path(__file__).with_name("slow_disk.c")


def postgres_in(folder: Path) -> Postgres:
    """A server with all that it has in this folder, still to be made."""
    account = server_account()
    return Postgres(
        programs=postgres_programs(account),
        data=reachable_data(folder / "postgres", account),
        socket_folder=private_socket_folder(folder / "s", SOCKET_NAME, account),
        password_file=folder / "password",
        log=folder / "postgres.log",
        account=account,
    )


@contextmanager
def own_postgres(flush_delay_ms: float = 0.0) -> Iterator[str]:
    """A new server, stopped and removed at the end; URL of its database.

    Args:
        flush_delay_ms: By how much each of its flushes takes longer than the disk's own.

    Raises:
        BenchmarkError: The library does not compile.
    """
    folder = Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    folder.chmod(0o755)
    server = postgres_in(folder)
    try:
        server.create()
        # Else the first flushes would wait for what initdb wrote.
        sync = server.start_sync()
        wait_until(lambda: not sync.is_alive, "the new data folder is on the disk")
        if flush_delay_ms:
            slow = _slow_programs(folder, server.programs, flush_delay_ms)
            server = replace(server, programs=slow)
        child = server.start()
        try:
            server.wait_until_ready(child)
            with psycopg.connect(libpq_url(server.url()), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET track_wal_io_timing = on")
                connection.execute("SELECT pg_reload_conf()")
            yield server.url()
        finally:
            server.stop(child.ref)
    finally:
        shutil.rmtree(server.data, ignore_errors=True)
        remove_socket_folder(server.socket_folder, server.account)
        shutil.rmtree(folder, ignore_errors=True)


def why_not_slower() -> str | None:
    """Why flushes can't be made to take longer here; None if they can."""
    if sys.platform != "linux":
        return f"LD_PRELOAD is not known to {sys.platform}"
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def _slow_programs(folder: Path, programs: Programs, delay_ms: float) -> Programs:
    """A `postgres` that loads the library first: a server is given no more than its own environment."""
    slow = folder / "slow"
    slow.mkdir(mode=0o755)
    library = slow / "slow_disk.so"
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if compiled.returncode:
        raise BenchmarkError(f"{_SOURCE} does not compile:\n{compiled.stderr}")
    program = slow / "postgres"
    program.write_text(
        "#!/bin/sh\n"
        f"export LD_PRELOAD={shlex.quote(str(library))} FLUSH_DELAY_US={round(delay_ms * 1000)}\n"
        f'exec {shlex.quote(str(programs.folder / "postgres"))} "$@"\n'
    )
    for path in (library, program):
        path.chmod(0o755)  # whatever the umask is: the server's account has to read them
    return replace(programs, folder=slow)


@dataclass(frozen=True)
class Flushes:
    """What a server's log has been flushed, by the server's own clock.

    Attributes:
        count: How often.
        took_ms: How long that took, all together.
    """

    count: int
    took_ms: float

    @classmethod
    def until_now(cls, url: str) -> Flushes:
        """Since the server was made; a connection's own are counted when it is closed, or a second later."""
        with psycopg.connect(libpq_url(url)) as connection:
            found = connection.execute(
                "SELECT sum(fsyncs)::bigint, sum(fsync_time) FROM pg_stat_io"
                " WHERE object = 'wal' AND context = 'normal'"
            ).fetchone()
        return cls(*found) if found else cls(0, 0.0)

    def mean_ms(self, before: Flushes) -> float:
        """How long one took on average, since an earlier look."""
        return (self.took_ms - before.took_ms) / max(self.count - before.count, 1)
