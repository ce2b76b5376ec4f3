"""What happens after a part of the stack was killed, one by one and all at once."""

from __future__ import annotations

import os
from collections.abc import Callable

import psycopg
import pytest
import redis

from cascade_batch.local.home import Home
from cascade_batch.local.stack import ensure_stack, stack_status, stop_stack
from cascade_batch.settings import Settings
from tests.integration.local.stacks import eventually, kill, refs

pytestmark = pytest.mark.slow


def _keep_a_row(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")


def _row_is_there(database_url: str) -> bool:
    try:
        with psycopg.connect(database_url) as connection:
            return connection.execute("SELECT n FROM kept").fetchone() == (7,)
    except psycopg.OperationalError:
        return False


def test_postgres_comes_back_with_its_data(settings: Settings) -> None:
    services = ensure_stack(settings)
    _keep_a_row(services.database_url)
    before = refs(settings)["postgres"]
    kill(before)
    eventually(lambda: _row_is_there(services.database_url))
    eventually(lambda: refs(settings).get("postgres", before) != before)
    assert ensure_stack(settings) == services


def test_valkey_comes_back_where_it_was(settings: Settings) -> None:
    services = ensure_stack(settings)
    before = refs(settings)["valkey"]
    kill(before)

    def answers() -> bool:
        try:
            with redis.Redis.from_url(services.redis_url, retry=None) as broker:
                return bool(broker.ping())
        except redis.ConnectionError:
            return False

    eventually(answers)
    eventually(lambda: refs(settings).get("valkey", before) != before)
    assert ensure_stack(settings) == services


def test_servers_of_a_killed_supervisor_are_adopted(settings: Settings) -> None:
    services = ensure_stack(settings)
    before = refs(settings)
    kill(before["supervisor"])
    assert not stack_status(settings).is_watched
    assert ensure_stack(settings) == services
    after = refs(settings)
    assert after["supervisor"] != before["supervisor"]
    assert (after["postgres"], after["valkey"]) == (before["postgres"], before["valkey"])
    # Adopted is as good as started: it comes back after a kill, too.
    kill(after["postgres"])
    eventually(lambda: refs(settings).get("postgres", before["postgres"]) != before["postgres"])


def test_servers_of_a_killed_supervisor_can_be_stopped(settings: Settings) -> None:
    ensure_stack(settings)
    running = refs(settings)
    kill(running["supervisor"])
    assert stop_stack(settings)
    assert not any(ref.is_alive for ref in running.values())
    assert stack_status(settings).parts == ()


@pytest.mark.parametrize("survivor", [None, "postgres", "valkey"])
def test_whatever_survives_a_massacre(settings: Settings, survivor: str | None) -> None:
    services = ensure_stack(settings)
    _keep_a_row(services.database_url)
    for name, ref in refs(settings).items():
        if name != survivor:
            kill(ref)
    again = ensure_stack(settings)
    assert _row_is_there(again.database_url)
    with redis.Redis.from_url(again.redis_url) as broker:
        assert broker.ping()


def test_notes_that_name_a_stranger_by_now(settings: Settings) -> None:
    """After a reboot, the numbers of the old processes belong to somebody else."""
    services = ensure_stack(settings)
    _keep_a_row(services.database_url)
    note = (settings.home / "run" / "stack.json").read_text()
    for ref in refs(settings).values():
        kill(ref)
    lock = settings.home / "postgres" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    stranger = os.getppid()
    lock.write_text("\n".join([str(stranger), *lines[1:]]))
    for pid in [
        line for line in note.replace(",", " ").replace("}", " ").split() if line.isdigit()
    ]:
        note = note.replace(pid, str(stranger))
    (settings.home / "run" / "stack.json").write_text(note)
    assert _row_is_there(ensure_stack(settings).database_url)
    assert stranger not in {ref.pid for ref in refs(settings).values()}


def test_an_unreadable_note_is_no_obstacle(settings: Settings) -> None:
    services = ensure_stack(settings)
    _keep_a_row(services.database_url)
    before = refs(settings)
    kill(before["supervisor"])
    kill(before["valkey"])
    (settings.home / "run" / "stack.json").write_text('{"version": ')
    again = ensure_stack(settings)
    assert refs(settings)["postgres"] == before["postgres"]
    assert _row_is_there(again.database_url)


def test_a_start_that_was_cut_off_is_done_again(settings: Settings) -> None:
    ensure_stack(settings)
    stop_stack(settings)
    (settings.home / "postgres").rename(settings.home / "aside")
    (settings.home / ".postgres-cut-off").mkdir()
    with psycopg.connect(ensure_stack(settings).database_url) as connection:
        assert connection.execute("SELECT count(*) FROM cascade.jobs").fetchone() == (0,)


def test_another_version_of_the_package_is_replaced(settings: Settings) -> None:
    ensure_stack(settings)
    before = refs(settings)
    home = Home.at(settings.home)
    state = home.read_state()
    assert state is not None
    home.write_state(type(state).from_json(state.to_json().replace(state.version, "0.0.0.old")))
    ensure_stack(settings)
    after = refs(settings)
    assert after["supervisor"] != before["supervisor"]
    assert not before["supervisor"].is_alive


def test_a_failing_start_leaves_nothing_running(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    ensure_stack(settings)
    with psycopg.connect(ensure_stack(settings).database_url) as connection:
        connection.execute("UPDATE cascade_batch_version SET version_num = 'from the future'")
    stop_stack(settings)
    with pytest.raises(Exception, match="from the future"):
        ensure_stack(settings)
    assert stack_status(settings).parts == ()
