"""What the Tab key completes, asked as the shells ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cascade_batch.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
NOWHERE = {
    "CASCADE_DATABASE_URL": "postgresql://me@127.0.0.1:1/work",
    "CASCADE_REDIS_URL": "redis://127.0.0.1:1",
}


def ask(folder: Path, shell: str, *words: str, **environment: str) -> list[str]:
    """What is offered for the last of the words, which may be empty."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("CASCADE_")}
    done = subprocess.run(
        [sys.executable, "-m", "cascade_batch"],
        env={
            **env,
            "PYTHONPATH": os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")]),
            "CASCADE_HOME": str(folder / "home"),
            "COMP_WORDS": " ".join(["cascade-batch", *words]),
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
            "_CASCADE_BATCH_COMPLETE": f"{shell}_complete",
            **environment,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_commands_are_completed(folder):
    assert ask(folder, "bash", "st") == ["plain,status"]
    assert ask(folder, "bash", "")[:-1] == [f"plain,{name}" for name in COMMANDS][:-1]


def test_zsh_and_fish_are_told_what_a_command_does(folder):
    assert ask(folder, "zsh", "st") == ["plain", "status", COMMANDS["status"].summary]
    assert COMMANDS["status"].summary in "".join(ask(folder, "fish", "st"))


def test_options_and_their_words_are_completed(folder):
    assert ask(folder, "bash", "submit", "--ti") == ["plain,--tiers"]
    assert ask(folder, "bash", "submit", "--policy", "de") == ["plain,dearest"]
    assert ask(folder, "bash", "tiers", "ch") == ["plain,check"]


@pytest.mark.parametrize(
    "words",
    [["submit", "da"], ["submit", "--tiers", "t"], ["estimate", "x"], ["results", "news", "-o", "o"],
     ["report", "news", "--output", "o"]],
)  # fmt: skip
def test_files_are_left_to_the_shell(folder, words):
    assert ask(folder, "bash", *words) == [f"file,{words[-1]}"]


def test_what_is_mistyped_before_disturbs_nothing(folder):
    assert ask(folder, "bash", "sumbit", "--ti") == [""]
    assert ask(folder, "bash", "submit", "no-such-file.jsonl", "--ti") == ["plain,--tiers"]


def test_no_job_is_offered_and_nothing_started_where_the_stack_is_down(folder):
    assert ask(folder, "bash", "status", "ne") == [""]
    assert not (folder / "home").exists()


def test_no_job_is_offered_where_the_database_is_away(folder):
    assert ask(folder, "bash", "status", "ne", **NOWHERE) == [""]
    assert ask(folder, "bash", "status", "ne", CASCADE_REDIS_URL="redis://127.0.0.1:1") == [""]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_accepts(run, shell):
    script = run("completion", shell).stdout

    assert "_CASCADE_BATCH_COMPLETE" in script
    if shutil.which(shell) is None:
        return
    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


def test_the_shell_is_the_one_in_use_unless_one_is_named(run):
    assert run("completion", env={"SHELL": "/bin/zsh"}).stdout.startswith("#compdef")

    unknown = run("completion", env={"SHELL": "/bin/tcsh"})
    assert unknown.exit_code == 2
    assert "cascade-batch completion bash" in unknown.stderr
