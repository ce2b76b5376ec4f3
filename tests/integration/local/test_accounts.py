"""Root, whose servers run as `nobody`, and other users of the same machine."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from cascade_batch.local.account import reachable_programs, server_account
from cascade_batch.local.stack import ensure_stack, stop_stack
from cascade_batch.settings import Settings
from tests.integration.local.stacks import ENSURE, REPOSITORY, refs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")

OTHER = next(u for u in pwd.getpwall() if u.pw_uid not in (0, server_account().uid)).pw_uid
"""A user of this machine; Postgres insists on one with an entry."""
STRANGER = 54321
"""A user without an entry, as containers are often started with."""

KNOCK = """
import sys, psycopg
for path in sys.argv[2:]:
    try:
        open(path).read()
    except PermissionError:
        continue
    sys.exit(f"{path} is readable")
try:
    psycopg.connect(f"postgresql://cascade:guess@/cascade?host={sys.argv[1]}")
except psycopg.OperationalError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that other users can run with this package on its path."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if program is None:
            continue
        try:
            _as_other(program, "import psycopg, cascade_batch.local.supervisor", Path("/"))
        except (OSError, RuntimeError):
            continue
        return program
    pytest.skip("no Python is open to other users here")


def _as_other(python: str, code: str, home: Path, *arguments: str, uid: int = OTHER) -> str:
    done = subprocess.run(
        [python, "-c", code, *arguments],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *site.getsitepackages()]),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


@pytest.fixture
def other_home(base: Path, python: str) -> Iterator[Path]:
    """Home of the other user, closed to everybody else."""
    home = base / "other"
    home.mkdir(mode=0o700)
    os.chown(home, OTHER, OTHER)
    yield home
    stop = "from cascade_batch.local.stack import *; from cascade_batch.settings import *"
    _as_other(python, f"{stop}\nstop_stack(load_settings())", home)


def test_servers_of_root_run_as_nobody(settings: Settings) -> None:
    ensure_stack(settings)
    running = refs(settings)
    for name in ("postgres", "valkey"):
        process = psutil.Process(running[name].pid)
        assert process.uids().effective == server_account().uid != 0
        assert process.gids().effective != 0


def test_another_user_has_a_stack_beside_ours(
    settings: Settings, other_home: Path, python: str
) -> None:
    ours = ensure_stack(settings)
    ensure = ENSURE.replace("Path(sys.argv[1])", "load_settings().home").replace(
        "import Settings", "import Settings, load_settings"
    )
    theirs = json.loads(_as_other(python, ensure, other_home, "-", "600"))
    assert theirs["database_url"] != ours.database_url
    for name in ("supervisor", "postgres", "valkey"):
        assert psutil.Process(theirs["pids"][name]).uids().effective == OTHER
    with psycopg.connect(ours.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_user_without_an_entry_is_told(base: Path, python: str) -> None:
    home = base / "stranger"
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    with pytest.raises(RuntimeError, match="initdb: could not look up effective user ID 54321"):
        _as_other(python, ENSURE, home, str(home / "stack"), "600", uid=STRANGER)


def test_another_user_gets_in_nowhere(settings: Settings, python: str) -> None:
    services = ensure_stack(settings)
    with psycopg.connect(services.database_url) as connection:
        folder = connection.info.host
    secrets = [settings.home / "run" / "stack.json", settings.home / "postgres.password"]
    answer = _as_other(python, KNOCK, Path("/"), folder, *map(str, secrets))
    assert "Permission denied" in answer


def test_a_home_that_is_closed_to_nobody(
    base: Path, make_settings: Callable[..., Settings]
) -> None:
    (base / "closed").mkdir(mode=0o700)
    settings = make_settings("closed/home")
    services = ensure_stack(settings)
    data = (settings.home / "postgres").resolve()
    try:
        with psycopg.connect(services.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert not data.is_relative_to(base)
        stop_stack(settings)
        with psycopg.connect(ensure_stack(settings).database_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
        stop_stack(settings)
    finally:
        shutil.rmtree(data.parent)


def test_programs_that_are_closed_to_nobody_are_copied_once(tmp_path: Path) -> None:
    installed = tmp_path / "closed" / "programs"
    (installed / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("true") or "/bin/true", installed / "bin" / "program")
    (installed / "libnotneeded.a").touch()
    (tmp_path / "closed").chmod(0o700)
    account = server_account()
    name = f"test-{uuid4().hex}"
    copy = reachable_programs(installed, name, account)
    try:
        assert copy != installed
        subprocess.run([copy / "bin" / "program"], check=True, **account.popen_options())
        assert not (copy / "libnotneeded.a").exists()
        (installed / "bin" / "program").write_bytes(b"changed")
        assert reachable_programs(installed, name, account) == copy
        assert (copy / "bin" / "program").read_bytes() != b"changed"
    finally:
        shutil.rmtree(copy)
