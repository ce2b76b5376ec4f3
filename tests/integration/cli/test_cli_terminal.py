"""What people see and type: a terminal of some width, a pipe, the Tab key."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest
from rich.cells import cell_len

from .conftest import Shell

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])m")
JOB = "news-of-gold"


@pytest.fixture(scope="module")
def waiting(shell: Shell) -> Shell:
    """A shell with jobs that nobody works on: no worker runs."""
    for name in (JOB, "of two words", "ended"):
        done = shell("submit", "--job", "job.yaml", "--name", name, "--detach")
        assert done.returncode == 0, done.stderr
    assert shell("cancel", "ended").returncode == 0
    return shell


def terminal(shell: Shell, *arguments: str, width: int = 80, **environment: str) -> pexpect.spawn:
    """Start a command as in a terminal of 24 lines."""
    env = {k: v for k, v in shell.env.items() if k not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    return pexpect.spawn(
        sys.executable,
        ["-m", "cascade_batch", *arguments],
        cwd=shell.folder,
        env={**env, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
        dimensions=(24, width),
        encoding="utf-8",
        timeout=60,
    )


def read(process: pexpect.spawn) -> str:
    """All that it wrote until it ended."""
    process.expect(pexpect.EOF)
    process.close()
    return process.before


@pytest.mark.parametrize("width", [60, 120])
def test_a_live_display_fits_its_terminal_and_leaves_the_job_alone(waiting, width):
    process = terminal(waiting, "watch", JOB, width=width)
    process.expect("waits for a worker of tier small")
    written = process.before + process.after
    process.sendintr()
    written += read(process)

    screen = pyte.Screen(width, 24)
    pyte.Stream(screen).feed(written)
    shown = "\n".join(line.rstrip() for line in screen.display)
    assert process.exitstatus == 130
    assert max(cell_len(CONTROL.sub("", line)) for line in re.split("[\r\n]+", written)) <= width
    assert shown.count(f"{JOB}  queued") == 1
    assert "time left unknown" in shown
    assert "60 pending" in shown
    assert "░ $1.00 free" in shown
    assert f"cascade-batch watch {JOB}" in shown


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}], ids=["dumb", "CI"])
def test_a_log_gets_plain_lines(waiting, environment):
    process = terminal(waiting, "watch", "ended", **environment)

    lines = read(process).splitlines()
    assert process.exitstatus == 1
    assert lines[0].startswith("ended: cancelled; 0 of 60 rows answered; $0.00 of $1.00 spent")
    assert not any(CONTROL.search(line) for line in lines if "Warning" not in line)


def test_no_colour_where_none_is_wanted(waiting):
    assert COLOUR.search(read(terminal(waiting, "status", JOB)))
    for command in (["watch", "ended"], ["status", "newz"]):
        assert not COLOUR.search(read(terminal(waiting, *command, NO_COLOR="1")))


@pytest.mark.parametrize("command", [["status", JOB], ["watch", "ended"]])
def test_a_pipe_gets_no_control_codes(waiting, command):
    done = waiting(*command)

    assert not CONTROL.search(done.stdout + done.stderr)
    assert done.stdout or done.stderr
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_the_list_of_jobs_fits_its_terminal(waiting):
    width = 60
    written = CONTROL.sub("", read(terminal(waiting, "status", width=width)))

    lines = written.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert [line.split()[0] for line in lines] == ["Job", "ended", "of", JOB]
    assert all(words in lines[0] for words in ("Status", "Done", "Spent", "Budget"))


@pytest.fixture
def bash(waiting: Shell, tmp_path: Path) -> Iterator[pexpect.spawn]:
    """A bash at whose prompt Tab completes our commands."""
    program = tmp_path / "cascade-batch"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cascade_batch "$@"\n')
    program.chmod(0o755)
    env = {
        **waiting.env,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PS1": "ready> ",
        "TERM": "dumb",
    }
    process = pexpect.spawn(
        "bash", ["--norc", "--noprofile", "-i"], cwd=waiting.folder, env=env, encoding="utf-8",
        dimensions=(24, 200), timeout=60,
    )  # fmt: skip
    process.expect_exact("ready> ")
    process.sendline('eval "$(cascade-batch completion bash)"')
    process.expect_exact("ready> ")
    yield process
    process.close(force=True)


def test_bash_completes_commands_jobs_and_files(bash):
    for typed, completed in (
        ("cascade-batch stat\t", "cascade-batch status "),
        ("new\t", f"{JOB} "),
        ("\x15cascade-batch results of\t", "'of two words' "),
        ("\x15cascade-batch submit --job job.y\t", "job.yaml "),
    ):
        bash.send(typed)
        bash.expect_exact(completed)
