"""Faults on this side of the wire: one row or one job suffers and says why, nothing hangs, no paid
answer is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from structlog.contextvars import get_contextvars

from cascade_batch.domain.answer import Answered, Reply
from cascade_batch.domain.money import Usage
from cascade_batch.providers import Providers
from tests.integration.engine.bench import Bench, provider

ROOMY = {"max_output_tokens": 64}


def function_tier(bench: Bench, folder: Path, code: str, name: str = "rules", **more):
    """A tier that is the function `answer` of this code, at a fixed price per call."""
    module = f"functions_of_{name}"
    (folder / f"{module}.py").write_text(code)
    return bench.tier(
        None, name, api="python", function=f"{module}.answer", python_path=str(folder),
        price={"call": "0.000001"}, **more,
    )  # fmt: skip


async def test_a_row_whose_prompt_can_not_be_made_any_more_fails_alone(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 6)
        bench.execute(
            "UPDATE cascade_store.row SET input = '{}' WHERE job_id = :job AND row_no = 2",
            job=bench.job_id(job),
        )
        await bench.run(job, tiers)
    failed = [r for r in bench.results(job) if r.status == "failed"]
    assert [r.row_no for r in failed] == [2]
    assert "request can't be made" in failed[0].error
    assert bench.status(job)["rows"]["answered"] == 5
    assert bench.audit(job).is_ok


async def test_a_prompt_that_grew_since_submission_is_never_sent(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 6)
        bench.execute(
            "UPDATE cascade_store.row SET input = jsonb_build_object('text', repeat('long ', 99))"
            " WHERE job_id = :job AND row_no = 2",
            job=bench.job_id(job),
        )
        await bench.run(job, tiers)
        assert served.bill()["calls_total"] == 5
    assert [r.row_no for r in bench.results(job) if r.status == "failed"] == [2]
    assert bench.audit(job).is_ok


class LoggingProviders(Providers):
    """Says under which chunk each request is sent."""

    def __init__(self):
        super().__init__()
        self.said: list[tuple[int, int]] = []

    async def call(self, tier, body):
        row_no = int(re.search(rb"row (\d+)", body)[1])
        self.said.append((row_no, get_contextvars()["chunk"]))
        return await super().call(tier, body)


async def test_what_a_call_logs_names_its_own_chunk_whichever_its_slot_was_for_before(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", limits={"concurrency": 3}, **ROOMY)]
        job = bench.submit(tiers, 60, chunk_rows=4)
        async with bench.worker(tiers) as worker:
            worker.providers = LoggingProviders()
            await bench.finish(job, worker)
    chunks = bench.all(
        "SELECT chunk_id, row_from, row_to FROM cascade_store.chunk WHERE job_id = :job",
        job=bench.job_id(job),
    )
    of_row = {row: chunk for chunk, first, end in chunks for row in range(first, end)}
    assert len(chunks) == 15
    assert sorted(worker.providers.said) == sorted(of_row.items())


class BrokenProviders(Providers):
    """A provider with a fault that nobody thought of, on the rows that say so."""

    async def call(self, tier, body):
        if b"break" in body:
            raise RuntimeError("a fault of our own")
        if b"timeless" in body:
            usage = Usage(input_tokens=1, output_tokens=1)
            return Answered(Reply(text="late", usage=usage, latency_ms=float("nan")))
        return await super().call(tier, body)


async def test_an_exception_in_a_call_costs_that_row_alone(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, [{"text": t} for t in ("one", "break", "three")])
        async with bench.worker(tiers) as worker:
            worker.providers = BrokenProviders()
            await bench.finish(job, worker)
    results = bench.results(job)
    assert [r.status for r in results] == ["answered", "failed", "answered"]
    assert "crashed 3 times" in results[1].error
    # Nobody can say whether it was billed.
    assert bench.status(job)["tiers"]["small"]["lost_calls"] == 3
    assert bench.audit(job).is_ok


async def test_an_answer_that_took_no_time_at_all_is_kept(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, [{"text": "timeless"}])
        async with bench.worker(tiers) as worker:
            worker.providers = BrokenProviders()
            await bench.finish(job, worker)
    assert [r.answer for r in bench.results(job)] == ["late"]
    assert bench.audit(job).is_ok


@pytest.mark.parametrize(
    "check",
    ["def check(value, gold):\n    raise SystemExit(3)", "def check(value, gold):\n    return 1/0"],
)
async def test_a_check_that_breaks_leaves_the_answer_and_says_so(
    bench: Bench, tmp_path: Path, check: str
):
    (tmp_path / "checks.py").write_text(check)
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 3, check="python:checks.check", check_path=str(tmp_path))
        await bench.run(job, tiers)
    results = bench.results(job)
    assert [r.answer for r in results] == ["row 0", "row 1", "row 2"]
    assert all(r.error for r in results)
    assert bench.audit(job).is_ok


async def test_a_check_that_can_not_be_imported_stops_its_job_and_no_other(
    bench: Bench, tmp_path: Path
):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        bad = bench.submit(
            tiers, 10, chunk_rows=5, check="python:gone.check", check_path=str(tmp_path)
        )
        good = bench.submit(tiers, 10, chunk_rows=5)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            await bench.finish(good, worker)
    assert bench.state(good) == "finished"
    status = bench.status(bad)
    assert status["status"] == "failed"
    assert "gone" in status["reason"]
    held = bench.one(
        "SELECT count(*) FROM cascade_store.chunk WHERE job_id = :job AND state = 'leased'",
        job=bench.job_id(bad),
    )
    assert held == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"n": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (r'{"n": "a\u0000b"}', None),
        (r'{"n": "half \ud83d a pair"}', None),
        ("[" * 400 + "]" * 400, None),
        ('{"n": 1e999}', None),
    ],
)
async def test_values_that_are_hard_to_store_lose_no_answer(bench: Bench, text: str, value):
    rule = {"answers": [{"match": "hard", "text": text}, {"text": '{"n": 1}'}]}
    async with provider(small=rule) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=2000)]
        job = bench.submit(
            tiers, [{"text": t} for t in ("easy", "hard", "easy too")], output={"schema": {}}
        )
        await bench.run(job, tiers)
        bill = served.bill()
    results = bench.results(job)
    assert [r.status for r in results] == ["answered"] * 3
    assert results[0].value == '{"n": 1}'
    if value is not None:
        assert value in results[1].value
    status = bench.status(job)
    assert status["spent_nanousd"] == bill["total_nanousd"]
    assert status["at_risk_nanousd"] == 0
    assert bench.audit(job).is_ok


@pytest.mark.parametrize("what", ["bad \\0 character", "half \\ud83d a pair", "line\\nbreak"])
async def test_refusals_in_strange_characters_are_stored(bench: Bench, tmp_path: Path, what: str):
    code = f'def answer(asked):\n    raise ValueError("{what}")\n'
    tier = function_tier(bench, tmp_path, code, f"strange{abs(hash(what))}")
    job = bench.submit([tier], 2)
    await bench.run(job, [tier])
    assert [r.status for r in bench.results(job)] == ["failed"] * 2
    assert all("ValueError" in r.error for r in bench.results(job))
    assert bench.audit(job).is_ok


async def test_answers_in_strange_characters_are_kept(bench: Bench, tmp_path: Path):
    code = (
        "def answer(asked):\n"
        "    return {'text': 'nul \\0 and \\ud83d half', 'finish_reason': 'odd \\0 \\ud83d'}\n"
    )
    tier = function_tier(bench, tmp_path, code, "odd")
    job = bench.submit([tier], 2)
    await bench.run(job, [tier])
    results = bench.results(job)
    assert [r.status for r in results] == ["answered"] * 2
    assert results[0].answer.startswith("nul ")
    assert bench.audit(job).is_ok


async def test_what_the_ledger_can_not_store_fails_its_job_and_no_other(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        bad = bench.submit(tiers, 10, chunk_rows=10)
        good = bench.submit(tiers, 10, chunk_rows=10)
        bench.execute(
            f"ALTER TABLE cascade_store.answer_{bench.job_id(bad)} ADD CHECK (row_no <> 4)"
        )
        async with bench.worker(tiers) as worker:
            await worker.drive()
            await bench.finish(good, worker)
    status = bench.status(bad)
    assert status["status"] == "failed"
    assert "can't be stored" in status["reason"]
    assert bench.state(good) == "finished"
    assert bench.audit(good).is_ok
    assert bench.audit(bad).is_ok
