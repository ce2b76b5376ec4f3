"""How commands that need services behave where these are missing or misdeclared."""

from __future__ import annotations

import pytest

NOWHERE = {
    "CASCADE_DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:1/nothing",
    "CASCADE_REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("results", "j"), ("audit", "j"), ("budget", "j", "--add", "1"), ("db", "upgrade"),
     ("sql", "SELECT 1"), ("doctor",)],
    ids=lambda a: a[0],
)  # fmt: skip
def test_a_database_that_cannot_be_reached_exits_with_4(run, arguments):
    result = run(*arguments, env=NOWHERE)

    assert result.exit_code == 4
    assert "can't be reached" in result.output
    assert "hunter2" not in result.output


def test_one_url_alone_is_refused(run):
    result = run("status", env={"CASCADE_REDIS_URL": "redis://127.0.0.1:1/0"})

    assert result.exit_code == 2
    assert "CASCADE_DATABASE_URL is missing" in result.stderr


@pytest.mark.parametrize("command", [("worker", "--tiers", "small"), ("sweeper",)])
def test_parts_of_a_deployment_need_services_of_their_own(run, command):
    result = run(*command)

    assert result.exit_code == 2
    assert "CASCADE_DATABASE_URL and CASCADE_REDIS_URL are not set" in result.stderr


def test_a_worker_has_to_serve_something(run):
    result = run("worker", env=NOWHERE)

    assert result.exit_code == 2
    assert "--tiers small,large" in result.stderr


def test_a_missing_key_is_found_before_anything_is_started(run, folder):
    (folder / "tiers.yaml").write_text(
        "tiers: [{name: a, model: gpt-4o, api_key_env: NO_SUCH_KEY}]\n"
    )
    (folder / "data.jsonl").write_text('{"prompt": "hi"}\n')

    result = run("submit", "data.jsonl", "--budget", "1")

    assert result.exit_code == 2
    assert "Tier 'a' needs a key in the environment variable NO_SUCH_KEY" in result.stderr
    assert not (folder / "home").exists()


def test_a_budget_is_read_before_the_database_is_asked(run):
    result = run("budget", "j", "--add", "lots", env=NOWHERE)

    assert result.exit_code == 2
    assert "--add: 'lots' is not an amount of dollars" in result.stderr


def test_sql_needs_a_query(run):
    result = run("sql", env=NOWHERE)

    assert result.exit_code == 2
    assert "SELECT * FROM cascade.jobs" in result.stderr
