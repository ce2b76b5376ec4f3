"""A job's life on the command line, with services, workers and a provider that are real."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess

import pytest

from .conftest import ROWS, Shell


@pytest.fixture(scope="module")
def finished(deployed: Shell) -> Shell:
    """A shell in which the job `news` was submitted, waited for, and is finished."""
    done = deployed("submit", "--job", "job.yaml", "--name", "news")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "news\n"
    assert "news: finished; 60 of 60 rows answered" in done.stderr
    return deployed


def test_the_status_tells_rows_money_and_tiers(finished):
    status = finished.json("status", "news")

    assert (status["name"], status["status"]) == ("news", "finished")
    assert status["rows"] == {
        "total": ROWS, "answered": ROWS, "failed": 0, "pending": 0, "unfunded": 0
    }  # fmt: skip
    assert status["budget_usd"] == 1
    assert 0 < status["spent_usd"] < 1
    assert (status["reserved_usd"], status["at_risk_usd"], status["overrun_usd"]) == (0, 0, 0)
    assert list(status["tiers"]) == ["small", "large"]
    for tier in status["tiers"].values():
        assert {
            "calls",
            "answers",
            "escalated",
            "spent_usd",
            "latency_ms_p50",
            "latency_ms_p95",
        } <= (set(tier))
    assert "news" in [job["name"] for job in finished.json("status")]
    assert "60 answered" in finished("status", "news").stdout


def test_results_are_in_input_order_on_standard_output_and_in_files(finished):
    lines = [json.loads(line) for line in finished("results", "news").stdout.splitlines()]

    assert [line["row_no"] for line in lines] == list(range(ROWS))
    assert {line["status"] for line in lines} == {"answered"}
    assert {line["value"] for line in lines} <= {"up", "down", "none"}

    done = finished("results", "news", "-o", "out.csv")
    assert done.stdout == ""
    with (finished.folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == [line["value"] for line in lines]


def test_the_audit_agrees_and_says_so(finished):
    done = finished("audit", "news")

    assert (done.returncode, done.stdout[:3]) == (0, "OK:")
    assert finished.json("audit", "news")["ok"] is True


def test_sql_reads_the_public_views_and_writes_nothing(finished):
    counted = finished.json("sql", "SELECT count(*) AS n FROM results.news")
    refused = finished("sql", "DELETE FROM cascade_store.job")

    assert counted == [{"n": ROWS}]
    assert refused.returncode == 2
    assert "permission denied for schema cascade_store" in refused.stderr


@pytest.mark.parametrize(
    ("view", "meant"),
    [("results.nwes", "results.news"), ("cascade.job", "cascade.jobs"), ("jbos", "cascade.jobs"),
     ("result.news", "results.news"), ("zzz", "schema results")],
)  # fmt: skip
def test_a_view_that_is_not_there_is_answered_with_those_that_may_be_meant(finished, view, meant):
    refused = finished("sql", "-c", f"SELECT * FROM {view}")

    assert refused.returncode == 2
    assert f'relation "{view}" does not exist' in refused.stderr
    assert meant in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT name FROM cascade.jobs", "cascade.jobs has the columns job, status,"),
        ("SELECT answr_text FROM results.news", "results.news has the columns "),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_those_that_are(finished, query, columns):
    refused = finished("sql", "-c", query)

    assert refused.returncode == 2
    assert columns in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["-c", r"\d"], ["-c", r" \d news"], [r"\d news"]])
def test_commands_of_psql_are_told_from_sql(finished, arguments):
    refused = finished("sql", *arguments)

    assert refused.returncode == 2
    assert r"\d is a command of psql" in refused.stderr
    assert "cascade-batch sql -c " in refused.stderr
    listed = shlex.split(
        refused.stderr.partition("cascade-batch ")[2].partition("cascade-batch ")[2]
    )
    assert "results,news" in finished(*listed).stdout


def test_a_name_is_taken_once_unless_it_was_not_chosen(finished):
    chosen = finished("submit", "--job", "job.yaml", "--name", "news")
    of_data = [
        finished("submit", "--job", "job.yaml", "--detach", "--limit", "3") for _ in range(2)
    ]

    assert chosen.returncode == 2
    assert "resume news" in chosen.stderr
    assert [done.stdout for done in of_data] == ["rows\n", "rows-2\n"]
    assert finished("watch", "rows-2").returncode == 0


def test_watching_a_finished_job_ends_at_once(finished):
    watched = finished.json("watch", "news")

    assert watched["status"] == "finished"


def test_the_frontier_tells_what_other_budgets_would_bring(finished):
    found = finished.json("frontier", "news")
    status = finished.json("status", "news")
    shown = finished("frontier", "news")

    assert {
        "job",
        "labels",
        "measured",
        "budget_usd",
        "spent_usd",
        "points",
        "next_usd_gain",
    } <= set(found)
    assert (found["job"], found["labels"], found["measured"]) == ("news", "check", True)
    assert (found["budget_usd"], found["spent_usd"]) == (1, status["spent_usd"])
    assert all(
        set(point) == {"budget_usd", "quality", "low", "high", "supported"}
        for point in found["points"]
    )
    # What is kept with the job is what was drawn when it finished.
    budgets = [point["budget_usd"] for point in found["points"]]
    assert [point["budget_usd"] for point in status["frontier"]["points"]] == budgets
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["Budget", "Expected", "quality"]
    assert next(line for line in lines if "this job's budget" in line).split()[0] == "$1.00"
    assert (
        sum(line.count("right answers") for line in lines[: len(budgets) + 1]) == len(budgets) - 1
    )
    assert "no more right answers" in shown.stdout
    assert "no more right answers" in finished("status", "news").stdout


def test_the_frontier_of_a_job_without_labels_is_no_measurement(finished):
    done = finished(
        "submit", "rows.jsonl", "--budget", "0.002", "--name", "unlabelled", "--prompt", "{{ headline }}",
        "--output", "{choices: [up, down, none]}",
    )  # fmt: skip
    shown = finished("frontier", "unlabelled")
    more = finished("budget", "unlabelled", "--add", "0.01")

    assert done.returncode == 0, done.stderr
    assert "Expected (unmeasured)" in shown.stdout
    assert "quality" not in shown.stdout.lower()
    assert "--gold COLUMN" in shown.stderr
    assert finished.json("frontier", "unlabelled")["measured"] is False
    assert "Expected (unmeasured): 0." in more.stderr
    assert finished("watch", "unlabelled").returncode == 0


def test_a_budget_can_be_raised(finished):
    done = finished("budget", "news", "--add", "$0.50")

    assert done.returncode == 0
    assert "$1.50" in done.stderr
    assert "Expected quality: " in done.stderr
    assert finished("watch", "news").returncode == 0
    assert finished.json("status", "news")["budget_usd"] == 1.5
    assert finished("audit", "news").returncode == 0


def test_rows_that_fail_are_listed_with_their_reason(deployed):
    rows = [{"headline": "fine #up"}, {"headline": "poison #up"}]
    (deployed.folder / "two.jsonl").write_text("\n".join(map(json.dumps, rows)))

    done = deployed("submit", "two.jsonl", "--budget", "1", "--prompt", "{{ headline }}")

    assert done.returncode == 0
    assert "1 row failed" in done.stderr
    failed = deployed.json("errors", "two")
    assert [(row["row_no"], row["line_no"]) for row in failed] == [(1, 2)]
    assert failed[0]["error"]
    assert failed[0]["error"] in deployed("errors", "two").stdout
    assert deployed("errors", "two", "--limit", "1").returncode == 0


@pytest.mark.parametrize("command", ["status", "frontier"])
def test_an_unknown_job_is_answered_with_a_similar_one(finished, command):
    done = finished(command, "newz")

    assert done.returncode == 2
    assert "Did you mean 'news'?" in done.stderr


def test_every_part_is_well(deployed):
    findings = deployed.json("doctor")

    assert all(finding["ok"] for finding in findings)
    assert {"broker", "workers", "database", "schema", "sweeper"} <= {f["what"] for f in findings}


def test_a_worker_says_that_it_is_healthy(deployed):
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "workers.healthcheck"], env=deployed.env, check=False, timeout=60
    )

    assert done.returncode == 0


def test_tiers_are_tried_out(deployed):
    done = deployed("tiers", "check", "--tiers", "slow.yaml", "--json")

    checks = json.loads(done.stdout)
    assert done.returncode == 0
    assert (checks[0]["ok"], checks[0]["reports_usage"], checks[0]["price_source"]) == (
        True, True, "declared"
    )  # fmt: skip
    assert checks[0]["latency_ms"] >= 2000


def submit_slowly(shell: Shell, name: str) -> subprocess.Popen[str]:
    """Submit a job whose calls take two seconds each, one after the other, and wait until it runs."""
    process = shell.start(
        "submit", "rows.jsonl", "--budget", "1", "--prompt", "{{ headline }}", "--name", name,
        "--tiers", "slow.yaml",
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if f"{name}: " in line:
            return process
    pytest.fail("the job did not start")


def test_ctrl_c_leaves_the_job_running_and_says_how_to_return(deployed):
    process = submit_slowly(deployed, "patient")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "patient\n")
    assert "cascade-batch watch patient" in err
    assert "cascade-batch cancel patient" in err
    assert deployed.json("status", "patient")["status"] in {"queued", "running"}

    assert deployed("pause", "patient").returncode == 0
    assert deployed.json("status", "patient")["status"] == "paused"
    assert deployed("resume", "patient").returncode == 0
    assert deployed.json("status", "patient")["status"] == "running"
    assert deployed("delete", "patient", "--yes").returncode == 2
    assert deployed("cancel", "patient").returncode == 0
    watched = deployed("watch", "patient")
    assert watched.returncode == 1
    assert "resume patient" in watched.stderr


def test_ctrl_c_while_rows_are_drafted_and_read_cancels_the_job_and_keeps_its_answers(deployed):
    process = deployed.start(
        "submit", "-", "--start-early", "--job", "job.yaml", "--name", "piped",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write('{"headline": "gold piped #up", "label": "up"}\n')
    process.stdin.flush()  # and left open
    assert "Job 'piped' drafts its first rows" in process.stderr.readline()
    while deployed.json("status", "piped")["rows"]["answered"] == 0:
        assert process.poll() is None
    assert "more rows are being read" in deployed("status", "piped").stdout
    process.send_signal(signal.SIGINT)

    err = process.stderr.read()
    assert process.wait() == 130
    assert "The job is cancelled, as not all of its data was read." in err
    status = deployed.json("status", "piped")
    assert (status["status"], status["reading"], status["rows"]["answered"]) == (
        "cancelled", True, 1
    )  # fmt: skip
    watched = deployed("watch", "piped")
    assert watched.returncode == 1
    assert "it was interrupted" in watched.stderr
    assert "resume piped" not in watched.stderr


def test_a_deleted_job_is_gone(finished):
    done = finished("submit", "--job", "job.yaml", "--name", "gone", "--limit", "2")
    assert done.returncode == 0

    asked = finished("delete", "gone")
    assert asked.returncode == 1
    assert finished.json("status", "gone")["status"] == "finished"

    assert finished("delete", "gone", "--yes").returncode == 0
    assert finished("status", "gone").returncode == 2


def test_a_pilot_tells_what_to_type_next(deployed):
    done = deployed("estimate", "--job", "job.yaml", "--name", "gold news", "--pilot", "0.05")

    assert done.returncode == 0, done.stderr
    assert "Recommended: $" in done.stdout
    assert "cascade-batch submit --job job.yaml --name 'gold news' --budget 0." in done.stdout
    assert "gold news-pilot: finished; 60 of 60 rows answered" in done.stderr
    status = deployed.json("status", "gold news-pilot")
    assert (status["policy"], status["budget_usd"]) == ("every", 0.05)
    assert {tier["answers"] for tier in status["tiers"].values()} == {ROWS}
    refused = deployed("estimate", "--job", "job.yaml", "--pilot", "0.000001")
    assert refused.returncode == 2
    assert "Give the pilot $0.0" in refused.stderr
