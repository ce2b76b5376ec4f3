"""A submitter that is killed while it stores a job: there is a whole job afterwards, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from benchmarks.rig import Rig, wait_until
from cascade_batch.providers.scripted import SpawnedProvider
from tests.chaos.runs import IS_LONG
from tests.chaos.scene import Witness, services_of

pytestmark = pytest.mark.timeout(200)
MANY = 60_000
_COPIED = "SELECT coalesce(sum(tuples_processed), 0)::bigint FROM pg_stat_progress_copy"
_STRAYS = """
SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'cascade_store'::regnamespace
   AND c.relname ~ '^(row|answer|verdict|choice|decision)_[0-9]+$' AND NOT EXISTS (
       SELECT 1 FROM cascade_store.job j WHERE c.relname LIKE '%%\\_' || j.job_id)
"""


@pytest.fixture
def witness(stack: Rig) -> Iterator[Witness]:
    witness = Witness(services_of(stack).database_url)
    yield witness
    witness.close()


def _submit(stack: Rig, name: str, *more: str) -> tuple[str, ...]:
    return ("submit", "many.jsonl", "--name", name, "--budget", "100", "--detach", *more)


def _kill_when(stack: Rig, name: str, is_so: Callable[[], bool], *more: str) -> None:
    submitter = stack.start(*_submit(stack, name, *more))
    wait_until(is_so, "the submitter gets that far")
    submitter.kill()
    submitter.communicate()


@pytest.fixture(scope="module")
def many(stack: Rig, server: SpawnedProvider) -> None:
    lines = (json.dumps({"prompt": f"Is row {n:06} up or down?"}) for n in range(MANY))
    (stack.folder / "many.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("copied", [1, MANY // 2] if IS_LONG else [MANY // 2])
def test_killed_among_its_rows_it_leaves_nothing(
    stack: Rig, many: None, witness: Witness, copied: int
) -> None:
    name = f"killed after {copied}"
    _kill_when(stack, name, lambda: witness.one(_COPIED) >= copied)
    _can_be_submitted_again(stack, witness, name)


@pytest.mark.parametrize("table", ["balance", "wave", "chunk"] if IS_LONG else ["chunk"])
def test_killed_after_its_rows_it_leaves_nothing(
    stack: Rig, many: None, witness: Witness, table: str
) -> None:
    name = f"killed before {table}"
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %(table)s::regclass"
    relation = f"cascade_store.{table}"
    with witness.connect() as trap, trap.transaction():
        trap.execute(f"LOCK TABLE {relation} IN SHARE MODE")
        _kill_when(stack, name, lambda: witness.one(waiting, table=relation) > 0, "--limit", "2000")
    _can_be_submitted_again(stack, witness, name)


def test_killed_after_the_commit_it_leaves_a_job_that_ends_by_itself(
    stack: Rig, many: None, witness: Witness
) -> None:
    """Nobody was told of it: the sweeper finds it."""
    name = "killed too late"
    stored = "SELECT count(*) FROM cascade_store.job WHERE name = %(name)s"
    _kill_when(stack, name, lambda: witness.one(stored, name=name) == 1, "--limit", "300")
    again = stack.call(*_submit(stack, name))
    assert again.returncode == 2
    assert "cascade-batch resume" in again.stderr
    _ends_well(stack, name, 300)


def _can_be_submitted_again(stack: Rig, witness: Witness, name: str) -> None:
    gone = stack.call("status", name)
    assert gone.returncode == 2
    assert "no job called" in gone.stderr
    stack.run(*_submit(stack, name, "--limit", "50"))
    _ends_well(stack, name, 50)
    assert witness.one(_STRAYS) == 0


def _ends_well(stack: Rig, name: str, rows: int) -> None:
    assert stack.call("watch", name).returncode == 0
    assert stack.status(name)["rows"]["answered"] == rows
    assert stack.run("audit", name).startswith("OK")
