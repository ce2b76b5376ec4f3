"""What the quickstart tells a newcomer to type does work, and so do the queries of all pages."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.rig import Rig
from tests.documents import PAGES, ROOT, blocks, command_lines

_PORTS = re.compile(r"\b809[89]\b")
"""That of the README and that of the quickstart, so that one can follow the other."""
_OF_A_JOB = re.compile(r"\bresults\.|\bFROM (?!cascade\.)", re.IGNORECASE)


@pytest.fixture
def folder(user: Rig) -> Path:
    """An empty folder in which commands are found."""
    folder = user.folder / "newcomer"
    commands = folder / "bin"
    commands.mkdir(parents=True)
    launcher = commands / "cascade-batch"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cascade_batch "$@"\n')
    launcher.chmod(0o755)
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_quickstart_and_what_goes_on_from_there_tell_the_truth(user: Rig, folder: Path) -> None:
    port = free_port()
    script = ["set -euo pipefail"]
    for page in ("quickstart.md", "results.md", "editors.md"):
        for block in blocks(ROOT / "docs" / page):
            # The port that the page names may be taken on this machine.
            body = _PORTS.sub(port, block.body)
            if block.title:
                (folder / block.title).write_text(body, "utf-8")
            elif block.language == "bash":
                # A command that goes to the background must not outlive the test.
                script.append(body.replace("&\n", "& trap 'kill %1' EXIT\n"))
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={
            **user.environment,
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "OK:" in done.stdout
    with (folder / "answers.csv").open() as file:
        answers = {row["custom_id"]: row["value"] for row in csv.DictReader(file)}
    assert len(answers) == 12
    assert (answers["m01"], answers["m02"]) == ("billing", "technical")
    assert "<html" in (folder / "messages.html").read_text("utf-8")
    assert (folder / "job.schema.json").stat().st_size > 1000


def test_the_queries_of_all_pages_are_understood(user: Rig) -> None:
    queries: list[tuple[str, str]] = []
    for page in PAGES:
        queries += [(block.where, block.body) for block in blocks(page) if block.language == "sql"]
        for where, (command, *arguments) in command_lines(page):
            if command == "sql" and " " in (arguments or [""])[-1]:
                queries.append((where, arguments[-1]))
    # Queries of a job's own view are run where that job is: with the README, the shipped jobs, the guides.
    queries = [(where, query) for where, query in queries if not _OF_A_JOB.search(query)]
    assert len(queries) >= 5
    with psycopg.connect(
        "postgresql://" + user.services().database_url.partition("://")[2]
    ) as connection:
        for where, query in queries:
            try:
                connection.execute(b"EXPLAIN " + query.encode())
            except psycopg.Error as error:
                pytest.fail(f"{where}: {error}\n{query}")
