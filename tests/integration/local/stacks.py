"""What the tests of the embedded stack share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from cascade_batch.local.processes import ProcessRef
from cascade_batch.local.stack import stack_status, stop_stack
from cascade_batch.settings import Settings

REPOSITORY = Path(__file__).parents[3]


def stop_now(settings: Settings) -> None:
    """Stop a stack; its workers are not waited for."""
    if not settings.home.exists():
        return
    for name, ref in refs(settings).items():
        if name.startswith("worker"):
            kill(ref)
    stop_stack(settings)


def refs(settings: Settings) -> dict[str, ProcessRef]:
    """What runs of a stack, by name."""
    found = {part.name: ProcessRef.of(part.pid) for part in stack_status(settings).parts}
    return {name: ref for name, ref in found.items() if ref is not None}


def kill(ref: ProcessRef) -> None:
    """Kill a process without warning, and wait until it is gone."""
    ref.send(signal.SIGKILL)
    assert ref.wait(10.0)


def eventually(is_so: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def run_python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """Another process of the same user that runs a few lines against this package."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("CASCADE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


ENSURE = """
import json, sys
from pathlib import Path
from cascade_batch.local.stack import ensure_stack, stack_status
from cascade_batch.settings import Settings
settings = Settings(None, None, Path(sys.argv[1]), idle_stop_s=float(sys.argv[2]))
services = ensure_stack(settings)
pids = {part.name: part.pid for part in stack_status(settings).parts}
print(json.dumps({"database_url": services.database_url, "pids": pids}), flush=True)
sys.stdin.read()
"""
"""Ensures a stack, says where it is, and stays until its standard input is closed."""


def ensure_and_leave(settings: Settings) -> str:
    """Start a stack from a process that has gone when this returns; gives the database's URL."""
    process = run_python(
        ENSURE, str(settings.home), str(settings.idle_stop_s), stdin=subprocess.PIPE
    )
    output, errors = process.communicate("")
    assert process.returncode == 0, errors
    url: str = json.loads(output)["database_url"]
    return url


def environment_of(ref: ProcessRef) -> dict[str, str]:
    """The environment that a process was started with."""
    return psutil.Process(ref.pid).environ()
