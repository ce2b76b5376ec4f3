"""A database whose clock jumps by an hour, both ways: leases, waits and reminders are by its clock.

A worker dies at the same moment, so that somebody has to notice by that very clock.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rig import Rig, provider, rig, write_rows
from benchmarks.slow_disk import postgres_in
from cascade_batch.local import postgres as local_postgres
from cascade_batch.local.account import server_account
from cascade_batch.local.stack import Services
from cascade_batch.local.valkey import Valkey, new_address
from cascade_batch.local.wheels import valkey_programs
from cascade_batch.store.engine import make_engine
from cascade_batch.store.migrate import upgrade
from tests.chaos.blows.clocks import clock_environment
from tests.chaos.runs import IS_LONG, script, write_tiers_of
from tests.chaos.scene import Scene, Witness, family, held_by
from tests.chaos.witness import look
from tests.integration.folders import server_folder

ROWS = 400


@contextlib.contextmanager
def _postgres(folder: Path, note: Path) -> Iterator[str]:
    """A server whose clock goes by the note; its URL."""
    server = postgres_in(folder)
    server.create()
    usual = local_postgres._server_environment
    local_postgres._server_environment = lambda: usual() | clock_environment(note)
    try:
        child = server.start()
    finally:
        local_postgres._server_environment = usual
    try:
        server.wait_until_ready(child)
        engine = make_engine(server.url())
        upgrade(engine)
        engine.dispose()
        yield server.url()
    finally:
        server.stop(child.ref)


@contextlib.contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    account = server_account()
    server = Valkey(valkey_programs(account), folder / "valkey.log", account)
    child, address = server.start(new_address())
    try:
        yield address.url
    finally:
        server.stop(child.ref)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by_s", [3600, -3600] if IS_LONG else [-3600])
def test_a_job_survives_its_database_changing_the_hour(by_s: int) -> None:
    with contextlib.ExitStack() as several:
        folder = several.enter_context(server_folder("cascade-clock-"))
        note = folder / "clock"
        note.write_text("+0")
        note.chmod(0o644)
        database_url = several.enter_context(_postgres(folder, note))
        redis_url = several.enter_context(_valkey(folder))
        urls = {"CASCADE_DATABASE_URL": database_url, "CASCADE_REDIS_URL": redis_url}
        one = several.enter_context(rig(in_memory=True, CASCADE_LEASE_S="3", **urls))
        server = several.enter_context(provider(one, script(seed=1)))
        write_tiers_of(one, server.url)
        write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(ROWS)])
        services = Services(database_url, redis_url)
        witness = Witness(database_url)
        several.callback(witness.close)
        scene = Scene(one, server, random.Random(1), "clock", services, witness)
        several.enter_context(scene.companion("sweeper", ready="sweeper runs"))
        several.enter_context(scene.companion("worker", "--control", ready="ready"))
        serve = ("worker", "--tiers", "small,large", "--name")
        several.enter_context(scene.companion(*serve, "stays@%h", ready="ready"))
        dies = several.enter_context(scene.companion(*serve, "dies@%h", ready="ready"))
        _submit(one)
        pids = [process.pid for process in family([dies])]
        assert scene.wake_until(lambda: held_by(scene, pids) > 0, "the one that dies holds a lease")
        for process in family([dies]):
            process.kill()
        clock = "SELECT extract(epoch FROM clock_timestamp())::float"
        was_s = witness.one(clock)
        note.write_text(f"{by_s:+d}")
        assert abs(witness.one(clock) - was_s - by_s) < 600, "the clock jumped"
        assert scene.wait(scene.is_over, "the job ends")
        assert look(scene, 1, [], []).problems == []


def _submit(one: Rig) -> None:
    one.run(
        "submit", "data.jsonl", "--name", "clock", "--budget", "0.3", "--detach",
        "--chunk-rows", "25", "--output", "{choices: [up, down]}",
    )  # fmt: skip
