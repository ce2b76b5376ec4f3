"""The stack's worker processes: real ones, started, replaced, handed their keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cascade_batch.local.processes import ProcessRef
from cascade_batch.local.stack import ensure_stack, stop_stack
from cascade_batch.settings import Settings
from tests.integration.local.stacks import ensure_and_leave, environment_of, eventually, kill, refs

pytestmark = pytest.mark.slow
CANARY = "sk-canary-5d1f0a77c1b24e6a"


def _worker(settings: Settings, tier: str = "small") -> ProcessRef | None:
    return refs(settings).get(f"worker tier.{tier}")


def _wait_for_worker(settings: Settings, tier: str = "small") -> ProcessRef:
    eventually(lambda: _worker(settings, tier) is not None)
    worker = _worker(settings, tier)
    assert worker is not None
    return worker


def _is_ready(settings: Settings, key: str = "tier.small") -> bool:
    log = settings.home / "logs" / f"worker-{key}.log"
    return log.exists() and " ready." in log.read_text()


def _add_job(database_url: str, tier: str, state: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "WITH j AS (INSERT INTO cascade_store.job (name, state, spec) VALUES (%s, %s, %s)"
            " RETURNING job_id) INSERT INTO cascade_store.job_tier (job_id, tier_no, name, model)"
            " SELECT job_id, 0, %s, 'm' FROM j",
            (f"job of {tier}", state, Jsonb({}), tier),
        )
        connection.execute("NOTIFY cascade_jobs")


def _files_that_hold(text: str, folder: Path) -> str:
    found = subprocess.run(
        ["grep", "-rlF", text, str(folder)], check=False, capture_output=True, text=True
    )
    return found.stdout


def test_workers_are_there_for_the_tiers_and_the_planner(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small"])
    eventually(lambda: _is_ready(settings))
    eventually(lambda: _is_ready(settings, "control"))
    services = ensure_stack(settings)
    env = environment_of(_wait_for_worker(settings))
    assert env["CASCADE_DATABASE_URL"] == services.database_url
    assert env["CASCADE_REDIS_URL"] == services.redis_url


def test_the_doctor_tells_the_processes_of_workers(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small"])
    eventually(lambda: _is_ready(settings))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CASCADE_")}

    told = subprocess.run(
        [sys.executable, "-m", "cascade_batch", "doctor"],
        env={**environment, "CASCADE_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert f"(process {_wait_for_worker(settings).pid})" in told


def test_a_killed_worker_is_replaced(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small"])
    before = _wait_for_worker(settings)
    kill(before)
    eventually(lambda: _worker(settings) not in (None, before))


def test_unfinished_jobs_get_workers(settings: Settings) -> None:
    services = ensure_stack(settings)
    _add_job(services.database_url, "paused-one", "paused")
    _add_job(services.database_url, "wanted-one", "running")
    _wait_for_worker(settings, "wanted-one")
    assert _worker(settings, "paused-one") is None


def test_unfinished_jobs_get_workers_after_a_restart(settings: Settings) -> None:
    services = ensure_stack(settings)
    _add_job(services.database_url, "wanted-one", "queued")
    _wait_for_worker(settings, "wanted-one")
    stop_stack(settings)
    ensure_stack(settings)
    _wait_for_worker(settings, "wanted-one")


def test_an_unfinished_job_keeps_the_stack(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(idle_stop_s=1.0)
    services = ensure_stack(settings)
    _add_job(services.database_url, "wanted-one", "running")
    stop_stack(settings)
    ensure_and_leave(settings)
    supervisor = refs(settings)["supervisor"]
    assert not supervisor.wait(4.0)
    with psycopg.connect(services.database_url, application_name="cascade-batch") as connection:
        connection.execute("UPDATE cascade_store.job SET state = 'finished'")
    assert supervisor.wait(60.0)


def test_a_session_of_another_program_keeps_the_stack(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(idle_stop_s=2.5)
    url = ensure_and_leave(settings)
    supervisor = refs(settings)["supervisor"]
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(5):
            connection.execute("SELECT 1")
            assert not supervisor.wait(1.0)
        assert supervisor.wait(60.0)  # connected still, but silent


def test_keys_reach_workers_and_no_disk(settings: Settings) -> None:
    ensure_stack(settings)
    ensure_stack(settings, tiers=["small"], env={"SOME_API_KEY": CANARY})
    worker = _wait_for_worker(settings)
    assert environment_of(worker)["SOME_API_KEY"] == CANARY
    assert _files_that_hold(CANARY, settings.home) == ""


def test_a_new_key_replaces_the_worker_that_lacks_it(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small", "large"], env={"SOME_API_KEY": "old"})
    small, large = _wait_for_worker(settings), _wait_for_worker(settings, "large")
    ensure_stack(settings, tiers=["small"], env={"SOME_API_KEY": "old"})
    assert _worker(settings) == small
    ensure_stack(settings, tiers=["small"], env={"SOME_API_KEY": CANARY})
    eventually(lambda: not small.is_alive)
    assert environment_of(_wait_for_worker(settings))["SOME_API_KEY"] == CANARY
    assert _worker(settings, "large") == large
    assert _files_that_hold(CANARY, settings.home) == ""


def test_workers_of_a_killed_supervisor_are_adopted_with_their_keys(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small"], env={"SOME_API_KEY": CANARY})
    before = refs(settings)
    kill(before["supervisor"])
    ensure_stack(settings)
    assert refs(settings)["worker tier.small"] == before["worker tier.small"]
    kill(before["worker tier.small"])
    eventually(lambda: _worker(settings) not in (None, before["worker tier.small"]))
    assert environment_of(_wait_for_worker(settings))["SOME_API_KEY"] == CANARY


def test_stopping_lets_workers_end_by_themselves(settings: Settings) -> None:
    ensure_stack(settings, tiers=["small"])
    eventually(lambda: _is_ready(settings))
    running = refs(settings)
    stop_stack(settings)
    assert not any(ref.is_alive for ref in running.values())
    assert "Warm shutdown" in (settings.home / "logs" / "worker-tier.small.log").read_text()
    supervisor_log = (settings.home / "logs" / "supervisor.log").read_text()
    assert "killed" not in supervisor_log
