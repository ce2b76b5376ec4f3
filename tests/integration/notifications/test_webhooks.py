"""Who is to be told of a job is told, once for what happened once, whatever the receiver does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade_batch.engine import control
from tests.integration.engine.bench import Bench, provider
from tests.integration.notifications.conftest import SECRET, TIERS, Post
from tests.integration.receiver import Receiver

PAGE = Path(__file__).parents[3] / "docs" / "notifications.md"


def documented(name: str) -> Any:
    """What the page tells a reader to write."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S):
        exec(block, names)
    return names[name]


def submit(bench: Bench, *notify: Any, rows: int = 4, **more: Any) -> str:
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1", **TIERS)]
    return bench.submit(tiers, rows, notify=notify, **more)


async def test_a_job_tells_of_its_money_and_its_end_signed_as_documented(
    bench: Bench, post: Post, receiver: Receiver
):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **TIERS)]
        target = {"url": receiver.url, "secret_env": "HOOK_SECRET"}
        job = bench.submit(tiers, 40, budget_nanousd=20_000_000, notify=[target])
        await bench.run(job, tiers)

    assert await asyncio.to_thread(post.send) == 1
    (got,) = receiver.received
    is_genuine = documented("is_genuine")
    assert is_genuine(got.headers, got.body, SECRET)
    assert not is_genuine(got.headers, got.body + b" ", SECRET)
    assert not is_genuine({**got.headers, "webhook-id": "msg_other"}, got.body, SECRET)
    late = int(got.headers["webhook-timestamp"]) + 301
    assert not is_genuine(got.headers, got.body, SECRET, now=late)
    message, status = got.message, bench.status(job)
    assert message["type"] == "job.finished"
    assert message["timestamp"].endswith("Z")
    assert message["data"]["job"] == job
    assert message["data"]["status"] == "finished"
    assert message["data"]["rows"] == {"total": 40, "answered": 40, "failed": 0, "pending": 0}
    assert message["data"]["spent_usd"] == pytest.approx(status["spent_usd"])
    assert message["data"]["budget_usd"] == 0.02
    assert "40 of 40 rows answered" in message["text"]
    assert status["notifications"][0]["delivered"] == 1
    assert await asyncio.to_thread(post.send_waiting) == 0


def test_a_message_is_sent_again_under_its_id_until_it_is_taken(
    bench: Bench, post: Post, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    receiver.answers += [(503, {"retry-after": "99"}), (302, {"location": receiver.url}), (500, {})]
    job = submit(bench, {"url": receiver.url, "secret_env": "HOOK_SECRET", "events": ["paused"]})
    control.pause_job(bench.engine, job)

    with caplog.at_level(logging.DEBUG):
        assert [post.send(), post.send()] == [1, 0]
        waits_s = bench.one(
            "SELECT extract(epoch FROM next_at - clock_timestamp())::float FROM cascade.notifications"
        )
        assert [post.send_waiting(), post.send_waiting(), post.send_waiting()] == [1, 1, 1]

    assert 60 < waits_s < 100
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert len(receiver.received) == 4
    assert {one.body for one in receiver.received} == {receiver.received[0].body}
    is_genuine = documented("is_genuine")
    assert all(is_genuine(one.headers, one.body, SECRET) for one in receiver.received)
    assert bench.all("SELECT state, tries, error FROM cascade.notifications") == [
        ("delivered", 4, None)
    ]
    # The address is a secret: only its host is told.
    assert "answered 500" in caplog.text
    assert "a-token-of-ours" not in caplog.text


def test_shares_of_the_budget_are_told_once_each_and_again_of_a_raised_one(
    bench: Bench, post: Post, receiver: Receiver
):
    job = submit(bench, {"url": receiver.url, "events": ["50%", "80 %", "100%", "finished"]})
    of_job = {"job": bench.job_id(job)}
    spend = (
        "UPDATE cascade_store.balance SET budget_nanousd = 1000, spent_nanousd = :spent,"
        " at_risk_nanousd = :lost WHERE job_id = :job"
    )

    def told(spent: int, lost: int) -> list[int]:
        bench.execute(spend, spent=spent, lost=lost, **of_job)
        post.send()
        percents = [one.message["data"]["percent"] for one in receiver.received]
        receiver.received.clear()
        return sorted(percents)

    assert told(499, 0) == []
    assert told(400, 100) == [50]
    assert told(700, 100) == [80]
    assert told(750, 100) == []
    assert told(894, 100) == []
    assert told(895, 100) == [100]
    # As `budget --add` does; half of the new budget is used already.
    bench.execute(
        "UPDATE cascade_store.balance SET budget_nanousd = 1500 WHERE job_id = :job", **of_job
    )
    post.send()
    post.send()
    assert [one.message["data"]["percent"] for one in receiver.received] == [50]


def test_what_happened_before_the_end_is_told_before_it(
    bench: Bench, post: Post, receiver: Receiver
):
    job = submit(bench, {"url": receiver.url})
    bench.execute(
        "UPDATE cascade_store.balance SET spent_nanousd = budget_nanousd * 6 / 10 WHERE job_id = :job",
        job=bench.job_id(job),
    )
    control.cancel_job(bench.engine, job)

    assert bench.all("SELECT type, percent FROM cascade.notifications ORDER BY at") == [
        ("job.budget_reached", 50),
        ("job.cancelled", None),
    ]
    assert post.send() == 2
    assert sorted(receiver.types()) == ["job.budget_reached", "job.cancelled"]


def test_a_state_that_is_not_reached_after_all_is_not_told(bench: Bench, receiver: Receiver):
    job = submit(bench, {"url": receiver.url})
    with bench.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE cascade_store.job SET state = 'failed'")
        connection.rollback()

    assert bench.status(job)["notifications"][0]["waiting"] == 0


def test_a_dead_receiver_is_given_up_and_shown_and_the_job_goes_on(bench: Bench, post: Post):
    dead = "http://127.0.0.1:9/hook"
    job = submit(bench, {"url": dead, "events": ["paused"]})
    control.pause_job(bench.engine, job)

    tries = 0
    while post.send_waiting():
        tries += 1

    assert tries == 9
    (outbox,) = bench.status(job)["notifications"]
    assert outbox["target"] == "http://127.0.0.1:9/…"
    assert (outbox["waiting"], outbox["given_up"]) == (0, 1)
    assert "no connection" in outbox["error"]
    shown = subprocess.run(
        [sys.executable, "-m", "cascade_batch", "status", job],
        env={
            **os.environ,
            "CASCADE_DATABASE_URL": bench.database_url,
            "CASCADE_REDIS_URL": "redis://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{outbox['target']} did not take 1 message: no connection" in " ".join(
        shown.stdout.split()
    )
    control.resume_job(bench.engine, job, bench.messages)
    assert bench.state(job) == "running"


def test_who_wants_no_more_gets_no_more(bench: Bench, post: Post, receiver: Receiver):
    job = submit(bench, {"url": receiver.url})
    receiver.answers += [(410, {})]
    control.pause_job(bench.engine, job)
    assert post.send() == 1
    control.cancel_job(bench.engine, job)

    assert post.send_waiting() == 0
    assert receiver.types() == ["job.paused"]
    assert bench.status(job)["notifications"][0]["given_up"] == 1


def test_an_address_in_a_variable_is_known_to_the_sweeper_alone(
    bench: Bench, post: Post, receiver: Receiver
):
    job = submit(bench, {"url": "env:HOOK_URL", "secret_env": "NO_SUCH_SECRET"})
    control.pause_job(bench.engine, job)
    assert post.send() == 1
    assert "HOOK_URL" in bench.status(job)["notifications"][0]["error"]
    post.variables["HOOK_URL"] = receiver.url
    assert post.send_waiting() == 1
    assert "NO_SUCH_SECRET" in bench.status(job)["notifications"][0]["error"]
    assert receiver.received == []
    # Two secrets while one replaces the other.
    post.variables["NO_SUCH_SECRET"] = f"{'x' * 24} {SECRET}"
    assert post.send_waiting() == 1

    (got,) = receiver.received
    assert len(got.headers["webhook-signature"].split()) == 2
    assert documented("is_genuine")(got.headers, got.body, SECRET)
    stored = bench.all(
        "SELECT t::text, j.spec::text FROM cascade_store.notify_target t"
        " JOIN cascade_store.job j USING (job_id)"
    )
    assert "a-token-of-ours" not in str(stored)


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "https://169.254.169.254/latest"])
def test_what_a_variable_holds_leads_nowhere_that_an_address_may_not(
    bench: Bench, post: Post, url: str
):
    post.variables["HOOK_URL"] = url
    job = submit(bench, {"url": "env:HOOK_URL"})
    control.pause_job(bench.engine, job)

    assert post.send() == 1
    assert "CASCADE_NOTIFY_ALLOW" in bench.status(job)["notifications"][0]["error"]
