"""Looking for what earlier jobs bought costs a pass over their rows, and nothing where they are too old."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from cascade_batch.engine import earlier_answers
from tests.integration.engine.bench import Bench

FLUSH = "SELECT pg_stat_force_next_flush()"
READ = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = :name"
SPILLED = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()"


def tiers(bench: Bench) -> list:
    return [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]


def bought(bench: Bench, rows: int, *, text: str = "t", days_ago: int = 0) -> int:
    """A finished job that bought an answer to each of its rows."""
    job = bench.submit(tiers(bench), rows, cache=True)
    key = {"job": bench.job_id(job)}
    bench.execute("DELETE FROM cascade_store.answer WHERE job_id = :job", **key)
    bench.execute(
        "INSERT INTO cascade_store.answer"
        " (job_id, row_no, tier_no, cost_nanousd, latency_ms, chunk_id, text, value, answered_at)"
        " SELECT job_id, row_no, 0, 100, 1, 1, CAST(:text AS text), '\"t\"',"
        "        now() - make_interval(days => :days)"
        "   FROM cascade_store.row WHERE job_id = :job",
        text=text, days=days_ago, **key,
    )  # fmt: skip
    bench.execute(
        "UPDATE cascade_store.job_tier SET answers = :rows, cached = 0 WHERE job_id = :job",
        rows=rows,
        **key,
    )
    bench.execute(
        "UPDATE cascade_store.job SET state = 'finished',"
        " finished_at = now() - make_interval(days => :days) WHERE job_id = :job",
        days=days_ago, **key,
    )  # fmt: skip
    return key["job"]


@pytest.fixture(autouse=True)
def _no_earlier_jobs(bench: Bench) -> None:
    bench.execute("UPDATE cascade_store.job_tier SET fingerprint = NULL")


def test_each_answer_is_read_a_few_times_however_many_blocks_there_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(earlier_answers, "_BLOCK_ROWS", 100)
    rows = 2000
    sources = [bought(bench, rows) for _ in range(2)]
    bench.one(FLUSH)
    before = [bench.one(READ, name=f"answer_{source}") for source in sources]

    job = bench.submit(tiers(bench), rows, cache=True)

    assert bench.status(job)["tiers"]["small"]["cached"] == rows
    bench.one(FLUSH)
    after = [bench.one(READ, name=f"answer_{source}") for source in sources]
    # Found, fetched and copied: three times at most. A pass for each block would be twenty times as many.
    assert all(now - then <= 3 * rows for now, then in zip(after, before, strict=True))


def test_jobs_that_ended_long_ago_are_not_read(bench: Bench):
    old = bought(bench, 500, days_ago=40)
    bench.one(FLUSH)
    before = [bench.one(READ, name=f"{table}_{old}") for table in ("row", "answer")]

    job = bench.submit(tiers(bench), 3, cache=True)

    assert bench.status(job)["tiers"]["small"]["cached"] == 0
    bench.one(FLUSH)
    assert [bench.one(READ, name=f"{table}_{old}") for table in ("row", "answer")] == before


def test_answers_of_a_job_that_runs_and_of_calls_that_settled_after_the_end_are_taken(bench: Bench):
    running, cancelled = bought(bench, 5), bought(bench, 10)
    bench.execute(
        "UPDATE cascade_store.job SET state = 'running', finished_at = NULL WHERE job_id = :job",
        job=running,
    )
    bench.execute(
        "UPDATE cascade_store.job SET finished_at = now() - interval '30 days 1 hour'"
        " WHERE job_id = :job",
        job=cancelled,
    )
    job = bench.submit(tiers(bench), 10, cache=True)

    assert bench.status(job)["tiers"]["small"]["cached"] == 10


def test_texts_are_not_sorted(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """What is narrow is sorted in memory; ten megabytes of texts would be sorted on disk."""
    monkeypatch.setattr(earlier_answers, "_BLOCK_ROWS", 500)
    rows = 6000
    bought(bench, rows, text="word " * 350)
    url = make_url(bench.database_url).update_query_dict({"options": "-cwork_mem=2MB"})
    frugal = Bench(url.render_as_string(hide_password=False))
    before = frugal.one(SPILLED)

    job = frugal.submit(tiers(bench), rows, cache=True)

    assert frugal.status(job)["tiers"]["small"]["cached"] == rows
    frugal.one(FLUSH)
    assert frugal.one(SPILLED) == before
    frugal.engine.dispose()
