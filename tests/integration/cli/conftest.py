"""A whole deployment on services of its own: workers, planner and sweeper, started by their commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cascade_batch.providers.scripted import spawn_provider

ROOT = Path(__file__).parents[3]
ROWS = 60

SCRIPT = """\
seed: 1
models:
  small:
    price: {input: 0.15, output: 0.6}
    simulate: {choices: [up, down, none], accuracy: 0.6, gold: "#(up|down|none)"}
  large:
    price: {input: 2.5, output: 10}
    simulate: {choices: [up, down, none], accuracy: 1.0, gold: "#(up|down|none)"}
  slow:
    price: {input: 0.15, output: 0.6}
    latency_ms: 2000
    echo: true
faults:
  - {kind: bad_request, match: poison}
"""
TIERS = """\
tiers:
  - {{name: small, model: small, base_url: "{url}", price: {{input: 0.15, output: 0.6}},
      max_output_tokens: 8, logprobs: true}}
  - {{name: large, model: large, base_url: "{url}", price: {{input: 2.5, output: 10}},
      max_output_tokens: 8, logprobs: true}}
"""
SLOW_TIERS = """\
tiers:
  - {{name: small, model: slow, base_url: "{url}", price: {{input: 0.15, output: 0.6}},
      max_output_tokens: 8, limits: {{concurrency: 1}}}}
"""
JOB = """\
data: rows.jsonl
budget: 1
prompt: "{{ headline }}"
output: {choices: [up, down, none]}
gold: label
tiers: tiers.yaml
"""


@dataclass(frozen=True)
class Shell:
    """Runs `cascade-batch` as a user does, in a folder with a job's files."""

    folder: Path
    env: dict[str, str]

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cascade_batch", *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str):
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("job")
    (folder / "script.yaml").write_text(SCRIPT)
    labels = ("up", "down", "none")
    lines = [
        {"headline": f"gold {i} #{labels[i % 3]}", "label": labels[i % 3]} for i in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "job.yaml").write_text(JOB)
    with spawn_provider(folder / "script.yaml") as provider:
        (folder / "tiers.yaml").write_text(TIERS.format(url=provider.url))
        (folder / "slow.yaml").write_text(SLOW_TIERS.format(url=provider.url))
        yield folder


@pytest.fixture(scope="module")
def shell(folder: Path, fresh_database: str, redis_url: str) -> Shell:
    env = {k: v for k, v in os.environ.items() if not k.startswith("CASCADE_")}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return Shell(
        folder,
        env
        | {
            "PYTHONPATH": os.pathsep.join(paths),
            "CASCADE_DATABASE_URL": fresh_database,
            "CASCADE_REDIS_URL": redis_url,
            "CASCADE_HOME": str(folder / "unused-home"),
        },
    )


@pytest.fixture(scope="module")
def deployed(shell: Shell) -> Iterator[Shell]:
    """The shell, with workers, planner and sweeper running beside it."""
    log = shell.folder / "deployment.log"
    started = []
    with log.open("w") as output:
        for arguments in (
            ["worker", "--tiers", "small,large", "--concurrency", "2", "--name", "tiers@%h"],
            ["worker", "--control"],
            ["sweeper"],
        ):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "cascade_batch", *arguments],
                    cwd=shell.folder,
                    env=shell.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
    try:
        deadline = time.monotonic() + 60
        while shell("doctor").returncode != 0:
            assert time.monotonic() < deadline, log.read_text()
            assert all(process.poll() is None for process in started), log.read_text()
        yield shell
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
