"""Drafting while the data set is still being read: what is bought then, and what becomes of it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from cascade_batch.engine import batches, control, early_start
from cascade_batch.engine.early_start import submit_early
from cascade_batch.engine.plan import plan_job
from cascade_batch.engine.retry import retry_failed
from cascade_batch.engine.sweep import sweep_once
from cascade_batch.errors import BudgetError, DataError, JobExistsError, UsageError
from tests.integration.engine.bench import Bench, provider, until
from tests.integration.engine.pipe import Pipe, spec_of


def bad_line() -> DataError:
    return DataError("the line is no JSON", source="data.jsonl", line_no=7)


@pytest.fixture(autouse=True)
def _hasty(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_S", 0.02)
    bench.execute("UPDATE cascade_store.job_tier SET fingerprint = NULL")


async def test_rows_are_answered_before_the_next_ones_are_there(bench: Bench):
    async with provider(small=True, large=True) as served:
        tiers = [bench.tier(served, "small"), bench.tier(served, "large")]
        pipe = Pipe(bench, spec_of("as it comes", tiers, check="regex:never"))
        async with bench.worker(tiers) as worker:
            pipe.put("one", "two", "three")
            await pipe.stored(3)
            await worker.drive()
            status = bench.status("as it comes")
            assert status["rows"]["answered"] == 3
            assert "is being read" in status["reason"]
            assert bench.one('SELECT count(answer) FROM results."as it comes"') == 3
            assert not pipe.submission.done()
            # The planner can't see the whole job yet, and stays away: nothing dear is bought.
            sweep_once(bench.engine, bench.messages)
            assert "as it comes" not in bench.messages.plans
            assert plan_job(bench.engine, "as it comes", bench.messages) is None

            pipe.put("four")
            pipe.end()
            submission = await pipe.submission
            assert submission.rows == 4
            assert bench.status("as it comes")["reason"] is None
            await bench.finish("as it comes", worker)
    status = bench.status("as it comes")
    assert status["status"] == "finished"
    assert status["rows"] == {"total": 4, "answered": 4, "failed": 0, "pending": 0, "unfunded": 0}
    assert status["tiers"]["large"]["calls"] == 4
    assert status["ring_fence_nanousd"] == 0
    assert bench.audit("as it comes").is_ok
    assert served.bill()["total_nanousd"] == status["spent_nanousd"]


async def test_what_is_read_at_once_is_planned_as_a_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "BATCH_S", 60.0)
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of("in one go", tiers))
    pipe.put("one", "two")
    pipe.end()
    submission = await pipe.submission
    assert submission.notices
    assert bench.one(
        "SELECT NOT extra ? 'while_reading' FROM cascade_store.wave WHERE job_id = :job",
        job=submission.job_id,
    )


async def test_rows_that_ask_the_same_are_asked_once_however_far_apart(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        pipe = Pipe(bench, spec_of("echoes", tiers))
        async with bench.worker(tiers) as worker:
            pipe.put("a", "b", "a")
            await pipe.stored(3)
            await worker.drive()
            pipe.put("b", "c", "a")
            await pipe.stored(6)
            await worker.drive()
            pipe.end()
            await pipe.submission
            await bench.finish("echoes", worker)
    status = bench.status("echoes")
    assert (status["rows"]["answered"], status["rows_duplicate"]) == (6, 3)
    assert status["tiers"]["small"]["calls"] == served.bill()["calls_total"] == 3
    assert [result.answer for result in bench.results("echoes")] == ["a", "b", "a", "b", "c", "a"]
    assert bench.audit("echoes").is_ok


async def test_a_bad_line_cancels_the_job_and_the_next_takes_its_answers_over(bench: Bench):
    refuses = [{"kind": "bad_request", "match": "nasty"}]
    async with provider(small=True, faults=refuses) as served:
        tiers = [bench.tier(served, "small")]
        async with bench.worker(tiers) as worker:
            pipe = Pipe(bench, spec_of("with a mistake", tiers))
            pipe.put("one", "two", "nasty")
            await pipe.stored(3)
            await worker.drive()
            pipe.fail(bad_line())
            with pytest.raises(DataError, match=r"data\.jsonl:7") as found:
                await pipe.submission
            assert "taken over at no cost" in str(found.value.hint)
            status = bench.status("with a mistake")
            assert status["status"] == "cancelled"
            assert "after 3 rows: data.jsonl:7: the line is no JSON." in status["reason"]
            answers = [result.answer for result in bench.results("with a mistake")]
            assert answers == ["one", "two"]
            assert bench.audit("with a mistake").is_ok
            job = bench.engine, "with a mistake"
            for go_on in (
                lambda: control.resume_job(*job, bench.messages),
                lambda: retry_failed(*job, bench.messages),
                lambda: retry_failed(*job, bench.messages, reason="money"),
                lambda: control.raise_budget(*job, 1, bench.messages, actor=None),
            ):
                with pytest.raises(UsageError, match="only the first 3 rows"):
                    go_on()

            again = Pipe(bench, spec_of("mended", tiers))
            again.put("one")
            await again.stored(1)
            again.put("two", "three")
            again.end()
            await again.submission
            await bench.finish("mended", worker)
    status = bench.status("mended")
    assert status["rows"]["answered"] == served.bill()["calls_billed"] == 3
    assert status["tiers"]["small"]["cached"] == 2
    with pytest.raises(JobExistsError, match="only the first part of its data set") as taken:
        submit_early(bench.engine, spec_of("with a mistake", tiers), iter, bench.messages)
    assert "resume" not in (taken.value.hint or "")
    assert status["saved_nanousd"] == bench.status("with a mistake")["spent_nanousd"]
    assert bench.audit("mended").is_ok


async def test_right_answers_that_are_no_choices_are_told_when_all_is_read(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    output = {"choices": ["up", "down"]}
    pipe = Pipe(bench, spec_of("labelled", tiers, output=output, gold="label"))
    pipe.put("one", label="up")
    await pipe.stored(1)
    pipe.put("two", label="neg")
    pipe.end()

    (warning,) = (await pipe.submission).warnings
    assert "1 of 2 right answers" in warning
    control.cancel_job(bench.engine, "labelled")


async def test_a_mistake_in_the_first_moments_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "BATCH_S", 60.0)
    pipe = Pipe(
        bench, spec_of("never", [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")])
    )
    pipe.put("one")
    pipe.fail(bad_line())
    with pytest.raises(DataError) as found:
        await pipe.submission
    assert found.value.hint is None
    assert bench.one("SELECT count(*) FROM cascade_store.job WHERE name = 'never'") == 0


async def test_a_row_that_the_budget_does_not_cover_is_not_stored(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        pipe = Pipe(bench, spec_of("measure", tiers))
        pipe.put("x")
        pipe.end()
        worst = (await pipe.submission).worst_case_nanousd
        bench.execute("UPDATE cascade_store.job_tier SET fingerprint = NULL")

        pipe = Pipe(bench, spec_of("broke", tiers, budget_nanousd=worst))
        pipe.put("a", "b")
        with pytest.raises(BudgetError, match="does not cover the first 2 rows"):
            await pipe.submission
        assert bench.one("SELECT count(*) FROM cascade_store.job WHERE name = 'broke'") == 0

        pipe = Pipe(bench, spec_of("poor", tiers, budget_nanousd=3 * worst))
        pipe.put("a", "b")
        await pipe.stored(2)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        # Answered for less than the worst case: what is left pays for more rows than were counted on.
        pipe.put("c")
        await pipe.stored(3)
        pipe.put(*"defghijklmn")
        with pytest.raises(BudgetError, match="covers the first 3 rows") as found:
            await pipe.submission
        assert "larger --budget" in str(found.value.hint)
        status = bench.status("poor")
        assert status["status"] == "cancelled"
        assert status["rows"]["total"] == 3
        assert status["spent_nanousd"] + status["ring_fence_nanousd"] <= 3 * worst


async def test_a_paused_job_is_read_on_and_drafted_when_it_is_resumed(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        pipe = Pipe(bench, spec_of("put off", tiers))
        pipe.put("one")
        await pipe.stored(1)
        control.pause_job(bench.engine, "put off")
        pipe.put("two")
        await pipe.stored(2)
        pipe.end()
        await pipe.submission
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert served.bill()["calls_total"] == 0
            control.resume_job(bench.engine, "put off", bench.messages)
            await bench.finish("put off", worker)
        assert bench.status("put off")["rows"]["answered"] == served.bill()["calls_total"] == 2


async def test_no_more_is_released_than_keeps_workers_busy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(early_start, "AHEAD_ROWS", 2)
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of("far ahead", tiers, chunk_rows=1))
    released = "SELECT count(*) FROM cascade_store.decision WHERE job_id = :job"
    for number in range(4):
        pipe.put(f"row {number}")
        await pipe.stored(number + 1)
    pipe.end()
    await pipe.submission
    job_id = bench.job_id("far ahead")
    assert bench.one(released, job=job_id) == 2
    assert bench.status("far ahead")["rows"]["total"] == 4
    bench.plan("far ahead")
    assert bench.one(released, job=job_id) == 4


async def test_columns_that_come_late_are_in_the_view_and_the_results(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    pipe = Pipe(bench, spec_of("growing", tiers))
    pipe.put("one", size=None)
    await pipe.stored(1)
    pipe.put("two", size=2, colour="red")
    pipe.end()
    await pipe.submission
    found = bench.all('SELECT text, size, colour FROM results."growing" ORDER BY row_no')
    assert found == [("one", None, None), ("two", 2, "red")]


async def test_what_was_bought_before_a_mistake_counts_for_the_budget_of_the_next_job(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        async with bench.worker(tiers) as worker:
            broken = Pipe(bench, spec_of("broken off", tiers))
            broken.put("a", "b", "c", "d")
            await broken.stored(4)
            await worker.drive()
            broken.fail(bad_line())
            with pytest.raises(DataError):
                await broken.submission
            worst = bench.one(
                "SELECT max(worst_nanousd[1]) FROM cascade_store.row WHERE job_id = :job",
                job=bench.job_id("broken off"),
            )

            # Enough for the two rows that nobody has answered yet.
            rest = Pipe(bench, spec_of("the rest", tiers, budget_nanousd=2 * worst))
            rest.put("a", "b", "c")
            await rest.stored(3)
            rest.put("d", "e", "f")
            rest.end()
            submission = await rest.submission
            assert (submission.rows, submission.saved_rows) == (6, 4)
            assert submission.worst_case_nanousd == 2 * worst
            await bench.finish("the rest", worker)
    assert bench.status("the rest")["rows"]["answered"] == 6
    assert served.bill()["calls_billed"] == 6
    assert bench.audit("the rest").is_ok


async def test_rows_that_were_not_released_are_looked_up_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        async with bench.worker(tiers) as worker:
            first = Pipe(bench, spec_of("earlier", tiers))
            first.put("a", "b", "c")
            first.end()
            await first.submission
            await bench.finish("earlier", worker)

            monkeypatch.setattr(early_start, "AHEAD_ROWS", 0)
            second = Pipe(bench, spec_of("later", tiers))
            second.put("a", "x", "a")
            await second.stored(3)
            fence = bench.status("later")["ring_fence_nanousd"]
            second.put("b", "y", "c")
            second.end()
            submission = await second.submission
            assert submission.saved_rows == 4
            # What was fenced for the first row, before it was looked up, is free again.
            assert bench.status("later")["ring_fence_nanousd"] == fence
            await bench.finish("later", worker)
    status = bench.status("later")
    assert status["rows"]["answered"] == 6
    assert (status["tiers"]["small"]["calls"], status["tiers"]["small"]["cached"]) == (2, 4)
    assert status["rows_duplicate"] == 1
    assert bench.audit("later").is_ok


async def test_the_view_waits_for_nobody_who_holds_up_workers(bench: Bench):
    """Somebody looks at the view in a transaction that stays open, while a column comes late."""
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        pipe = Pipe(bench, spec_of("looked at", tiers))
        pipe.put("one")
        await pipe.stored(1)
        async with bench.worker(tiers) as worker:
            with bench.engine.begin() as reader:
                reader.execute(sa.text('SELECT count(*) FROM results."looked at"'))
                pipe.put("two", colour="red")
                await pipe.stored(2)
                pipe.end()
                waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
                await until(lambda: bench.one(waits) > 0)
                await worker.drive()
                assert bench.status("looked at")["rows"]["answered"] == 2
            await pipe.submission
            await bench.finish("looked at", worker)


def test_a_policy_without_cheap_drafts_does_not_start_early(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    spec = spec_of("dear", tiers, policy="dearest")
    with pytest.raises(UsageError, match="'dearest'"):
        submit_early(bench.engine, spec, lambda **_: (), bench.messages)


def test_without_the_cache_nothing_starts_early(bench: Bench):
    tiers = [bench.tier(None, "small", base_url="http://127.0.0.1:9/v1")]
    with pytest.raises(UsageError, match="Without the cache"):
        submit_early(
            bench.engine, spec_of("careless", tiers, cache=False), lambda **_: (), bench.messages
        )
