"""Files and words that are mistyped."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture
def files(folder):
    for name in ("data.jsonl", "tiers.yaml", "job.yaml", "prompt.txt"):
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["submit", "dta.jsonl"], "data.jsonl"),
        (["estimate", "data.json"], "data.jsonl"),
        (["submit", "data.jsonl", "--tiers", "tier.yaml"], "tiers.yaml"),
        (["submit", "--job", "jbo.yaml"], "job.yaml"),
        (["submit", "data.jsonl", "--prompt", "@promt.txt"], "prompt.txt"),
        (["tiers", "check", "--tiers", "tires.yaml"], "tiers.yaml"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_one_that_may_be_meant(
    run, files, arguments, meant
):
    result = run(*arguments)

    assert result.exit_code == 2
    assert f"{arguments[-1].lstrip('@')}: there is no such file." in result.stderr
    assert f"Did you mean {meant!r}?" in result.stderr


def test_a_folder_that_is_not_there_is_told(run, files):
    assert (
        "no folder away either" in run("submit", "data.jsonl", "--tiers", "away/tiers.yaml").stderr
    )


def test_a_word_that_is_not_allowed_is_told_with_the_one_that_may_be_meant(run, files):
    result = run("submit", "data.jsonl", "--policy", "raondom")

    assert result.exit_code == 2
    assert "Did you mean 'random'?" in result.stderr


def test_a_port_that_is_taken_is_told_before_anything_is_started(run, files):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("flower", "--port", str(port))

    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr
    assert not (files / "home").exists()
