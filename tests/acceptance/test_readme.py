"""What the README tells a newcomer to type does work: its files, commands and queries, in order."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = "8099"


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def newcomer() -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty folder, and an environment in which the command is found."""
    folder = Path(tempfile.mkdtemp(prefix="cascade readme "))
    folder.chmod(0o711)
    commands = folder / "bin"
    commands.mkdir()
    launcher = commands / "cascade-batch"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cascade_batch "$@"\n')
    launcher.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
        "CASCADE_HOME": str(folder / "home"),
    }
    try:
        yield folder, environment
    finally:
        subprocess.run([launcher, "down"], env=environment, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_readme_tells_the_truth(newcomer: tuple[Path, dict[str, str]]) -> None:
    folder, environment = newcomer
    # The port that the README names may be taken on this machine.
    text = README.read_text("utf-8").replace(_PORT, _free_port())
    script = ["set -euo pipefail"]
    queries = 0
    for language, title, body in _BLOCK.findall(text):
        if title:
            (folder / title).write_text(body, "utf-8")
        elif language == "bash":
            # A command that goes to the background must not outlive the test.
            script.append(body.replace("&\n", "& trap 'kill %1' EXIT\n"))
        elif language == "sql":
            queries += 1
            query = folder / f"query-{queries}.sql"
            query.write_text(body, "utf-8")
            script.append(f"echo query {queries}; cascade-batch sql - < {query.name}")
    assert queries >= 5
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "OK:" in done.stdout
    assert (folder / "headlines.parquet").stat().st_size > 0
    # Every query gave rows, not only a header.
    for part in done.stdout.split("query ")[1:]:
        assert len(part.strip().splitlines()) > 2, part
