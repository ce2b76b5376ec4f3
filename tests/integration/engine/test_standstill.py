"""A job that does not move says what it waits for."""

from __future__ import annotations

import pytest

from cascade_batch.engine.outlook import job_outlook
from tests.integration.engine.bench import Bench, provider

ROWS = 20


def make_it_still(bench: Bench, job: str, *, swept_s_ago: int = 1) -> None:
    """As if nothing had happened for five minutes."""
    bench.execute(
        "UPDATE cascade_store.entry SET at = now() - interval '5 min' WHERE job_id = :job",
        job=bench.job_id(job),
    )
    bench.execute(
        "INSERT INTO cascade_store.heartbeat (part, at) VALUES ('sweeper', now() - make_interval(secs => :s))"
        " ON CONFLICT (part) DO UPDATE SET at = excluded.at",
        s=swept_s_ago,
    )


def reasons(bench: Bench, job: str) -> str:
    standstill = bench.status(job)["standstill"]
    assert standstill["idle_s"] > 200
    return "; ".join(standstill["reasons"])


@pytest.fixture
async def job(bench: Bench):
    async with provider(small=True) as served:
        yield bench.submit([bench.tier(served, "small")], ROWS, chunk_rows=10)


async def test_a_job_that_moves_or_is_over_does_not_complain(bench: Bench, job: str):
    assert bench.status(job)["standstill"] is None
    make_it_still(bench, job)
    bench.execute(
        "UPDATE cascade_store.job SET state = 'finished' WHERE job_id = :j", j=bench.job_id(job)
    )
    assert bench.status(job)["standstill"] is None


async def test_chunks_without_a_worker_are_told_with_the_command_that_helps(bench: Bench, job: str):
    make_it_still(bench, job)
    told = reasons(bench, job)
    assert told == "2 chunks wait for a worker of tier small: cascade-batch worker --tiers small"


async def test_a_silent_sweeper_is_told(bench: Bench, job: str):
    make_it_still(bench, job, swept_s_ago=500)
    assert "no sweeper for 500 s" in reasons(bench, job)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("not_before = now() + interval '40 s'", "were put off after failures"),
        (
            "state = 'leased', owner = 'w', lease_expires_at = now() + interval '30 s'",
            "wait for the provider",
        ),
        ("state = 'done'", "the next wave is to be planned"),
    ],
)
async def test_what_it_waits_for_is_told(bench: Bench, job: str, change: str, words: str):
    make_it_still(bench, job)
    bench.execute(f"UPDATE cascade_store.chunk SET {change} WHERE job_id = :j", j=bench.job_id(job))
    told = reasons(bench, job)
    assert words in told
    assert "for a worker of tier" not in told


async def test_rows_of_a_worker_that_gives_no_sign_of_life_are_told_with_their_time(
    bench: Bench, job: str
):
    """Whoever lives renews a lease of 30 s long before half of it has passed."""

    def silent(lease_s: int) -> tuple[str, ...]:
        bench.execute(
            "UPDATE cascade_store.chunk SET state = 'leased', owner = 'w',"
            " lease_expires_at = clock_timestamp() + make_interval(secs => :s) WHERE job_id = :j",
            j=bench.job_id(job),
            s=lease_s,
        )
        with bench.engine.connect() as connection:
            return job_outlook(connection, job).silent

    assert silent(25) == ()
    (told,) = silent(12)
    assert told.startswith(
        f"2 chunks of tier small (up to {ROWS} rows) wait for the lease of a worker"
    )
    assert told.endswith("freed for others in 12 s at the latest")
    assert silent(-3)[0].endswith("freed for others now")
