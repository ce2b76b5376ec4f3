"""A job's life at the command line, on the stack that the first command starts."""

from __future__ import annotations

import csv
import json
import signal
import subprocess

import pyarrow.parquet as pq
import pytest

from benchmarks.rig import Rig
from cascade_batch.providers.scripted import SpawnedProvider

from .conftest import ASK, KEY, LABELS, ROWS, write_lines


@pytest.fixture(scope="module")
def news(user: Rig) -> str:
    """A job that was submitted, waited for, and is finished."""
    done = user.call(
        "submit", "data.jsonl", "--budget", "1", "--name", "news", "--gold", "label", *ASK
    )
    assert (done.returncode, done.stdout) == (0, "news\n"), done.stderr
    return "news"


def test_the_status_has_what_programs_rely_on(user: Rig, news: str) -> None:
    status = user.status(news)

    assert (status["name"], status["status"], status["budget_usd"]) == (news, "finished", 1)
    assert 0 < status["spent_usd"] <= 1
    assert [status[f"{what}_usd"] for what in ("reserved", "at_risk", "overrun")] == [0, 0, 0]
    rows = {key: status["rows"][key] for key in ("total", "answered", "failed", "pending")}
    assert rows == {"total": ROWS, "answered": ROWS, "failed": 0, "pending": 0}
    assert list(status["tiers"]) == ["small", "large"]
    for tier in status["tiers"].values():
        assert {
            "calls",
            "answers",
            "escalated",
            "spent_usd",
            "latency_ms_p50",
            "latency_ms_p95",
        } <= set(tier)
    # Every row has gold, so that the quality is measured.
    assert status["quality"] > 0.9
    assert news in [job["name"] for job in user.json("status")]


def test_results_are_the_same_in_every_format(user: Rig, news: str) -> None:
    lines = user.results(news)
    for ending in ("jsonl", "csv", "parquet"):
        assert user.call("results", news, "-o", f"out.{ending}").stdout == ""

    assert [line["row_no"] for line in lines] == list(range(ROWS))
    keys = {
        "custom_id",
        "row_no",
        "status",
        "answer",
        "value",
        "tier",
        "quality",
        "cost_usd",
        "error",
    }
    assert all(keys <= set(line) for line in lines)
    assert [line["value"] for line in lines] == [LABELS[n % 3] for n in range(ROWS)]
    jsonl = (user.folder / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in jsonl] == lines
    with (user.folder / "out.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == [line["value"] for line in lines]
    table = pq.read_table(user.folder / "out.parquet")
    assert table["custom_id"].to_pylist() == [line["custom_id"] for line in lines]
    assert table["answer"].to_pylist() == [line["answer"] for line in lines]


def test_the_answers_can_be_asked_for_in_sql(user: Rig, news: str) -> None:
    query = "SELECT count(*) AS n, count(*) FILTER (WHERE answer = label) AS good FROM results.news"
    assert user.json("sql", query) == [{"n": ROWS, "good": ROWS}]
    assert user.call("sql", "DROP VIEW results.news").returncode == 2


def test_the_audit_agrees(user: Rig, news: str) -> None:
    assert user.run("audit", news).startswith("OK")
    assert user.json("audit", news)["ok"] is True


def test_a_name_is_taken_once(user: Rig, news: str) -> None:
    again = user.call("submit", "data.jsonl", "--budget", "1", "--name", news, *ASK)

    assert again.returncode == 2
    assert f"cascade-batch resume {news}" in again.stderr


def test_estimate_and_dry_run_spend_nothing(user: Rig, server: SpawnedProvider) -> None:
    jobs, calls = user.json("status"), server.bill()["calls_total"]
    estimate = user.json("estimate", "data.jsonl", *ASK)
    dry = user.json("submit", "data.jsonl", *ASK, "--dry-run", "--budget", "1")

    assert estimate["rows"] == ROWS
    assert set(estimate["tiers"]) == {"small", "large"}
    assert 0 < estimate["minimum_budget_usd"] < estimate["tiers"]["large"]["worst_case_usd"]
    assert dry["minimum_budget_usd"] == estimate["minimum_budget_usd"]
    assert (user.json("status"), server.bill()["calls_total"]) == (jobs, calls)


def test_bad_records_are_left_out_if_asked_and_the_rest_can_be_limited(user: Rig) -> None:
    ask = {"headline": "gold #up"}
    data = write_lines(user, "some.jsonl", "{oops", ask, ask, '{"headline": 1', ask, ask)
    done = user.call("submit", data, "--budget", "1", *ASK, "--skip-bad", "--limit", "3")

    assert (done.returncode, done.stdout) == (0, "some\n"), done.stderr
    assert "some.jsonl:1" in done.stderr
    assert "some.jsonl:4" in done.stderr
    assert "2 records left out" in done.stderr
    assert len(user.results("some")) == 3


def test_a_detached_job_of_standard_input_is_followed_by_watch(user: Rig) -> None:
    given = (user.folder / "data.jsonl").read_text()
    done = user.call(
        "submit", "-", "--budget", "1", "--name", "piped", *ASK, "--detach", given=given
    )

    assert (done.returncode, done.stdout) == (0, "piped\n"), done.stderr
    assert "cascade-batch watch piped" in done.stderr
    assert user.json("watch", "piped")["status"] == "finished"
    assert len(user.results("piped")) == ROWS


def test_rows_that_fail_are_told_with_their_reason(user: Rig) -> None:
    data = write_lines(
        user, "two.jsonl", {"prompt": "fine #up"}, {"id": "p", "prompt": "poison #up"}
    )
    done = user.call("submit", data, "--budget", "1")

    assert done.returncode == 0, done.stderr
    assert "cascade-batch errors two" in done.stderr
    (failed,) = user.json("errors", "two")
    assert (failed["row_no"], failed["custom_id"], failed["line_no"]) == (1, "p", 2)
    assert failed["error"]
    assert [line["status"] for line in user.results("two")] == ["answered", "failed"]


def test_more_money_goes_on_from_where_a_finished_job_stopped(user: Rig) -> None:
    least = user.json("estimate", "data.jsonl", *ASK)["minimum_budget_usd"]
    user.run("submit", "data.jsonl", "--budget", f"{least:.9f}", "--name", "poor", *ASK)
    before = user.status("poor")
    user.run("budget", "poor", "--add", "1")
    user.run("watch", "poor")
    after = user.status("poor")

    assert before["status"] == after["status"] == "finished"
    assert after["budget_usd"] == pytest.approx(before["budget_usd"] + 1)
    assert after["tiers"]["small"] == before["tiers"]["small"]
    assert after["tiers"]["large"]["answers"] > before["tiers"]["large"]["answers"]
    assert user.run("audit", "poor").startswith("OK")


def test_tiers_are_tried_out(user: Rig) -> None:
    (tried,) = user.json("tiers", "check", "--tiers", "slow.yaml")
    assert (tried["tier"], tried["ok"], tried["error"]) == ("slow", True, None)
    assert tried["latency_ms"] >= 300
    assert tried["cost_usd"] > 0

    text = (user.folder / "slow.yaml").read_text().replace('"model": "slow"', '"model": "gone"')
    (user.folder / "gone.yaml").write_text(text)
    done = user.call("tiers", "check", "--tiers", "gone.yaml")
    assert done.returncode == 1
    assert "FAILED" in done.stdout


def test_a_refused_key_stops_the_job_and_keeps_what_is_done(user: Rig) -> None:
    lines = [{"prompt": f"row {n}"} for n in range(6)]
    data = write_lines(user, "keys.jsonl", *lines, {"prompt": "the last"})
    done = user.call(
        "submit", data, "--budget", "1", "--tiers", "locked.yaml", **{KEY: "sk-not-this-one"}
    )

    assert done.returncode == 1
    assert "'locked'" in done.stderr
    assert KEY in done.stderr
    assert "sk-not-this-one" not in done.stderr
    assert "cascade-batch resume keys" in done.stderr
    assert len(user.results("keys")) == 6

    resumed = user.call("resume", "keys", **{KEY: "sk-another-one"})
    assert resumed.returncode == 0, resumed.stderr
    user.run("watch", "keys")
    assert len(user.results("keys")) == 7
    assert user.status("keys")["tiers"]["locked"]["answers"] == 7


def submit_slowly(user: Rig, name: str) -> subprocess.Popen[str]:
    """Submit a job of one call after the other, and wait until it is being worked on."""
    lines = [{"prompt": f"{name} {n}"} for n in range(300)]
    write_lines(user, f"{name}.jsonl", *lines)
    process = user.start("submit", f"{name}.jsonl", "--budget", "1", "--tiers", "slow.yaml")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"{name}: "):
            return process
    raise AssertionError(f"{name} was not shown")


def test_ctrl_c_leaves_the_job_alone_which_then_obeys_its_user(user: Rig) -> None:
    process = submit_slowly(user, "patient")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "patient\n")
    assert "cascade-batch watch patient" in err
    assert user.status("patient")["status"] in {"queued", "running"}

    user.run("pause", "patient")
    assert user.status("patient")["status"] == "paused"
    user.run("resume", "patient")
    assert user.status("patient")["status"] == "running"
    busy = user.call("delete", "patient", "--yes")
    assert busy.returncode == 2
    assert "cascade-batch cancel patient" in busy.stderr
    user.run("cancel", "patient")
    watched = user.call("watch", "patient")
    assert watched.returncode == 1
    assert "cascade-batch resume patient" in watched.stderr
    assert 0 <= user.status("patient")["rows"]["answered"] < 300


def test_a_deleted_job_is_gone_and_its_name_is_free(user: Rig) -> None:
    data = write_lines(user, "brief.jsonl", {"prompt": "up? #up"})
    assert user.run("submit", data, "--budget", "1", "--name", "brief") == "brief\n"
    assert user.call("delete", "brief").returncode == 1  # it asks, and nobody answers
    user.run("delete", "brief", "--yes")
    assert user.call("status", "brief").returncode == 2
    assert user.run("submit", data, "--budget", "1", "--name", "brief") == "brief\n"


def test_two_submits_at_once_do_not_hinder_each_other(user: Rig) -> None:
    arguments = ("submit", "data.jsonl", "--budget", "1", *ASK)
    together = [user.start(*arguments) for _ in range(2)]
    named = [user.start(*arguments, "--name", "mine") for _ in range(2)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in together]
    named_ends = [(*process.communicate(timeout=120), process.returncode) for process in named]

    assert sorted(out for out, _, _ in ends) == ["data\n", "data-2\n"], ends
    assert [code for _, _, code in ends] == [0, 0], ends
    assert sorted(code for _, _, code in named_ends) == [0, 2], named_ends
    for job in ("data", "data-2", "mine"):
        assert len(user.results(job)) == ROWS
        assert user.run("audit", job).startswith("OK")
