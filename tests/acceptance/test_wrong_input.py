"""What a newcomer gets wrong is told in words: what, where and what to do; nothing is stored or paid."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from benchmarks.rig import Rig
from cascade_batch.providers.scripted import SpawnedProvider

from .conftest import ASK, KEY, PRICE, write_lines

WELL = {"name": "t", "model": "small", "price": PRICE, "max_output_tokens": 8}
PASSWORD = "hush-hush"
NOWHERE = {
    "CASCADE_DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:1/work",
    "CASCADE_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_stored_or_paid(user: Rig, server: SpawnedProvider) -> Iterator[None]:
    jobs, calls = user.json("status"), server.bill()["calls_total"]
    yield
    assert (user.json("status"), server.bill()["calls_total"]) == (jobs, calls)


def refused(user: Rig, *arguments: str, code: int = 2, **environment: str) -> str:
    """What a command says that is refused; it says it in few words, and nothing on standard output."""
    done = user.call(*arguments, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) < 20
    return done.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"prompt": "a"}', '{"prompt": oops}'], ["bad.jsonl:2", "broken JSON", "--skip-bad"]),
        (
            [{"id": "x", "prompt": "a"}, {"prompt": "b"}, {"id": "x", "prompt": "c"}],
            ["bad.jsonl:3", "'x'", "line 1"],
        ),
        ([{"headline": "a"}], ["bad.jsonl:1", "--prompt", "headline"]),
        ([], ["bad.jsonl", "no record"]),
    ],
)
def test_bad_data_is_told_with_its_place(user: Rig, lines: list[object], said: list[str]) -> None:
    write_lines(user, "bad.jsonl", *lines)
    words = refused(user, "submit", "bad.jsonl", "--budget", "1")
    assert all(part in words for part in said), words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl", "--budget", "1"], ["nowhere.jsonl", "no such file"]),
        (["data.txt", "--budget", "1"], ["data.txt", ".jsonl", ".csv", ".parquet"]),
        ([".", "--budget", "1"], ["ending"]),
        (["--budget", "1"], ["No data set"]),
        (["data.jsonl", *ASK], ["No budget", "--budget"]),
        (["data.jsonl", "--budget", "plenty", *ASK], ["--budget", "'plenty'"]),
        (
            ["data.jsonl", "--budget", "1", "--prompt", "{{ headlin }}"],
            ["data.jsonl:1", "'headlin'", "'headline'"],
        ),
        (["data.jsonl", "--budget", "1", "--gold", "lable", *ASK], ["'lable'", "label"]),
        (["data.jsonl", "--budget", "1", "--tiers", "none.yaml", *ASK], ["none.yaml"]),
    ],
)
def test_a_wrong_command_line_is_told(user: Rig, arguments: list[str], said: list[str]) -> None:
    words = refused(user, "submit", *arguments)
    assert all(part in words for part in said), words


@pytest.mark.parametrize("command", ["submit", "submit --dry-run"])
def test_a_budget_that_is_too_small_is_told_with_what_would_do(user: Rig, command: str) -> None:
    data = ("data.jsonl", *ASK)
    words = refused(user, *command.split(), *data, "--budget", "0.0001")

    least = user.json("estimate", *data)["minimum_budget_usd"]
    told = words.partition("--budget ")[2].partition(" or more")[0]
    assert f"at worst they cost ${told} " in words
    assert least <= float(told) < 1.001 * least
    enough = user.call("submit", "--dry-run", *data, "--budget", told)
    assert enough.returncode == 0, enough.stderr
    rows = words.partition("--limit ")[2].partition(",")[0]
    enough = user.call("submit", "--dry-run", *data, "--budget", "0.0001", "--limit", rows)
    assert enough.returncode == 0, enough.stderr
    refused(user, "submit", "--dry-run", *data, "--budget", "0.0001", "--limit", str(int(rows) + 1))


@pytest.mark.parametrize(
    ("tier", "said"),
    [
        ({**WELL, "modle": "x"}, ["tiers-bad.yaml:", "'modle'", "'model'"]),
        ({"name": "t", "model": "nobody-knows"}, ["tiers-bad.yaml:", "'t'", "price:", "0.60"]),
        ({**WELL, "api_key_env": KEY}, ["'t'", KEY, f"export {KEY}="]),
    ],
)
def test_a_wrong_tier_is_told(user: Rig, tier: dict[str, object], said: list[str]) -> None:
    (user.folder / "tiers-bad.yaml").write_text(json.dumps({"tiers": [tier]}))
    words = refused(
        user, "submit", "data.jsonl", "--budget", "1", *ASK, "--tiers", "tiers-bad.yaml"
    )
    assert all(part in words for part in said), words


def test_a_database_that_is_away_is_told_without_its_password(user: Rig) -> None:
    words = refused(user, "status", code=4, **NOWHERE)
    assert "postgresql://me:***@127.0.0.1:1/work" in words
    assert PASSWORD not in words
    assert "CASCADE_DATABASE_URL" in words


def test_a_broker_that_is_away_is_told_without_its_password(user: Rig) -> None:
    there = {"CASCADE_DATABASE_URL": user.run("sql", "--url", "--owner").strip()}
    words = refused(
        user, "submit", "data.jsonl", "--budget", "1", *ASK, code=4, **{**NOWHERE, **there}
    )
    assert "redis://:***@127.0.0.1:1/0" in words
    assert PASSWORD not in words
    assert "CASCADE_REDIS_URL" in words


def test_an_unknown_job_or_command_is_told(user: Rig) -> None:
    assert "'nothing'" in refused(user, "results", "nothing")
    unknown = user.call("sumbit", "data.jsonl")
    assert unknown.returncode == 2
    assert "Did you mean 'submit'?" in unknown.stderr
