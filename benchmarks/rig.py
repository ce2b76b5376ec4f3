"""A stack of its own for one measurement, the scripted provider beside it, and a place for results."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from cascade_batch.providers.scripted import spawn_provider
from cascade_batch.providers.scripted.serving import SpawnedProvider

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PATIENCE_S = 600.0


class BenchmarkError(Exception):
    """A measurement could not be made; the message says why."""


@dataclass(frozen=True)
class Rig:
    """A folder with a stack in it.

    Attributes:
        folder: Holds the home of the stack and whatever the measurement writes.
        environment: What every command is run with.
    """

    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> str:
        """Run a command to its end; its standard output.

        Raises:
            BenchmarkError: It ended with another code than expected.
        """
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode not in codes:
            raise BenchmarkError(
                f"cascade-batch {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
            )
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and go on."""
        return subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "cascade_batch", *arguments]

    def status(self, job: str) -> dict[str, Any]:
        """`status JOB --json`."""
        found: dict[str, Any] = json.loads(self.run("status", job, "--json"))
        return found

    def results(self, job: str) -> list[dict[str, Any]]:
        """All lines of `results JOB`."""
        return [json.loads(line) for line in self.run("results", job).splitlines()]

    def wait(self, job: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look at a job's status until `until` is satisfied.

        Raises:
            BenchmarkError: It took too long.
        """
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            status = self.status(job)
            if until(status):
                return status
        raise BenchmarkError(f"{job} did not get there: {status}")

    def wait_until_over(self, job: str) -> dict[str, Any]:
        """Wait until the job is at work no more."""
        return self.wait(job, lambda s: s["status"] not in ("queued", "running"))

    def processes(self, *words: str) -> list[psutil.Process]:
        """The stack's processes whose command line has all of `words`."""
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                if all(w in line for w in words) and self._is_ours(process):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        """Also the stack's children know its home, by the environment."""
        home = self.environment["CASCADE_HOME"]
        return process.environ().get("CASCADE_HOME") == home or home in " ".join(process.cmdline())

    def workers(self) -> list[psutil.Process]:
        """Main processes and children of the tiers' workers."""
        return self.processes("worker", "--tiers")


@contextmanager
def rig(**environment: str) -> Iterator[Rig]:
    """A new stack, stopped and removed at the end."""
    memory = Path("/dev/shm")
    folder = Path(
        tempfile.mkdtemp(prefix="cascade-bench-", dir=memory if memory.is_dir() else None)
    )
    folder.chmod(0o711)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("CASCADE_")}
    one = Rig(
        folder,
        {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "CASCADE_HOME": str(folder / "home"),
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


def write_tiers(one: Rig, tiers: Sequence[Mapping[str, Any]]) -> None:
    """Write `tiers.yaml` (JSON is YAML)."""
    (one.folder / "tiers.yaml").write_text(json.dumps({"tiers": list(tiers)}))


def write_rows(one: Rig, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `data.jsonl`."""
    (one.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def record(name: str, figures: Mapping[str, Any]) -> None:
    """Print figures, and keep them with machine, versions and date."""
    document = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_1_min_before": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "python": platform.python_version(),
            **{
                package: importlib.metadata.version(package)
                for package in ("aiohttp", "celery", "psycopg", "sqlalchemy", "uvloop")
            },
        },
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
