"""Answers that need not be bought: rows that ask the same, and what earlier jobs asked in the same words."""

from __future__ import annotations

import pytest

from cascade_batch.engine.control import cancel_job, delete_job, raise_budget
from cascade_batch.engine.retry import retry_failed
from cascade_batch.errors import BudgetError
from tests.integration.engine.bench import Bench, Messages, provider

NO_PLAN = Messages()


def texts(*words: str) -> list[dict[str, str]]:
    return [{"text": word} for word in words]


async def test_rows_that_ask_the_same_are_asked_once_and_all_are_answered(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, texts("a", "b", "a", "c", "b", "a"), cache=True)
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert [r.answer for r in bench.results(job)] == ["a", "b", "a", "c", "b", "a"]
    assert (status["rows"]["answered"], status["rows_duplicate"]) == (6, 3)
    assert status["tiers"]["small"]["calls"] == bill["models"]["small"]["calls"] == 3
    assert status["tiers"]["small"]["cached"] == 3
    assert status["spent_nanousd"] == bill["total_nanousd"]
    paid = {r.row_no: r.cost_nanousd for r in bench.results(job)}
    assert [row for row, cost in paid.items() if cost] == [0, 1, 3]
    assert status["saved_nanousd"] == 2 * paid[0] + paid[1]
    assert bench.audit(job).differences == []


async def test_only_rows_that_are_to_be_asked_need_money(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        rows = texts(*["the same"] * 50)
        with pytest.raises(BudgetError):
            bench.submit(tiers, rows, budget_nanousd=10**6)
        job = bench.submit(tiers, rows, budget_nanousd=10**6, cache=True)
        await bench.run(job, tiers)
    assert bench.status(job)["rows"]["answered"] == 50
    assert bench.audit(job).differences == []


async def test_a_budget_that_is_refused_advises_no_limit_where_some_rows_cost_nothing(bench: Bench):
    """How many rows it covers depends on which of them cost nothing; the budget that would do is known."""
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        rows = texts(*["the same"] * 50, *[f"other {n}" for n in range(50)])
        with pytest.raises(BudgetError) as all_asked:
            bench.submit(tiers, rows, budget_nanousd=10**6)
        assert "--limit" in all_asked.value.hint
        with pytest.raises(BudgetError) as refused:
            bench.submit(tiers, rows, budget_nanousd=10**6, cache=True)
        assert "--limit" not in refused.value.hint
        # Why it is less than what all rows come to.
        assert "all of the 51 rows still to be asked" in refused.value.message
        assert "(49 of 100 rows have an answer" in refused.value.message
        enough_usd = refused.value.hint.split("--budget ")[1].split()[0]
        budget = int(float(enough_usd) * 10**9)
        bench.submit(tiers, rows, budget_nanousd=budget, cache=True)


async def test_rows_with_other_right_answers_are_each_asked(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        rows = [{"text": "yes", "label": label} for label in ("yes", "no", "yes")]
        job = bench.submit(tiers, rows, gold="label", check="exact", cache=True)
        await bench.run(job, tiers)
    passed = bench.all("SELECT passed FROM cascade.results WHERE job = :j ORDER BY row_no", j=job)
    assert passed == [(True,), (False,), (True,)]
    assert bench.status(job)["rows_duplicate"] == 1


async def test_followers_fail_with_their_leader_and_are_retried_with_it(bench: Bench):
    fault = {"kind": "bad_request", "match": "bad", "first": 1}
    async with provider(small=True, faults=[fault]) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, texts("bad", "good", "bad"), cache=True)
        await bench.run(job, tiers)
        first = bench.status(job)
        failed = [r for r in bench.results(job) if r.status == "failed"]
        assert [r.row_no for r in failed] == [0, 2]
        assert failed[0].error == failed[1].error
        assert first["rows"]["failed"] == 2
        assert bench.audit(job).differences == []
        assert retry_failed(bench.engine, job, NO_PLAN).rows == 2
        await bench.run(job, tiers)
    assert [r.answer for r in bench.results(job)] == ["bad", "good", "bad"]
    assert bench.audit(job).differences == []


async def test_what_an_earlier_job_bought_costs_nothing(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        earlier = bench.submit(tiers, texts("a", "b", "c"), cache=True)
        await bench.run(earlier, tiers)
        billed = served.bill()["total_nanousd"]
        job = bench.submit(tiers, texts("c", "new", "a", "c"), cache=True)
        before = bench.status(job)
        assert (before["tiers"]["small"]["cached"], before["spent_nanousd"]) == (2, 0)
        await bench.run(job, tiers)
        bill = served.bill()
    status = bench.status(job)
    assert [r.answer for r in bench.results(job)] == ["c", "new", "a", "c"]
    assert status["tiers"]["small"]["calls"] == 1
    assert status["spent_nanousd"] == bill["total_nanousd"] - billed
    paid = {r.answer: r.cost_nanousd for r in bench.results(earlier)}
    assert status["saved_nanousd"] == 2 * paid["c"] + paid["a"]
    assert bench.audit(job).differences == bench.audit(earlier).differences == []


async def test_a_job_whose_answers_are_all_there_ends_without_a_call(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        await bench.run(bench.submit(tiers, texts("x", "y"), cache=True), tiers)
        job = bench.submit(tiers, texts("y", "x"), cache=True, policy="auto", budget_nanousd=1)
        await bench.run(job, tiers)
        assert served.bill()["models"]["small"]["calls"] == 2
    status = bench.status(job)
    assert (status["status"], status["rows"]["answered"]) == ("finished", 2)
    assert bench.audit(job).differences == []


async def test_an_earlier_answer_is_checked_as_this_job_checks(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        await bench.run(bench.submit(tiers, texts("p", "q"), cache=True), tiers)
        rows = [{"text": "p", "label": "p"}, {"text": "q", "label": "other"}]
        job = bench.submit(tiers, rows, gold="label", check="exact", cache=True)
        await bench.run(job, tiers)
    assert bench.all("SELECT passed FROM cascade.results WHERE job = :j ORDER BY row_no", j=job) == [
        (True,), (False,),
    ]  # fmt: skip
    assert bench.status(job)["tiers"]["small"]["calls"] == 0


async def test_what_determines_an_answer_decides_whether_it_is_taken_over(bench: Bench):
    async with provider(small=True) as served, provider(small=True) as elsewhere:
        tiers = [bench.tier(served, "small")]
        await bench.run(bench.submit(tiers, texts("m"), cache=True), tiers)

        def cached(tier, text: str = "m", **more) -> int:
            job = bench.submit([tier], texts(text), **{"cache": True, **more})
            return bench.status(job)["tiers"]["small"]["cached"]

        assert cached(tiers[0]) == 1
        assert cached(bench.tier(served, "small", limits={"concurrency": 3}, timeout_s=9)) == 1
        assert cached(tiers[0], cache=False) == 0
        assert cached(tiers[0], system="Be brief.") == 0
        assert cached(tiers[0], output={"choices": ["m", "n"]}) == 0
        assert cached(bench.tier(served, "small", params={"temperature": 1})) == 0
        assert cached(bench.tier(served, "small", max_output_tokens=9)) == 0
        assert cached(bench.tier(elsewhere, "small")) == 0
        assert cached(bench.tier(served, "small", model="other")) == 0


async def test_answers_go_with_the_job_that_bought_them_and_grow_old(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        bought = bench.submit(tiers, texts("u"), cache=True)
        await bench.run(bought, tiers)
        copied = bench.submit(tiers, texts("u"), cache=True)
        await bench.run(copied, tiers)
        bench.execute(
            "UPDATE cascade_store.answer SET answered_at = now() - interval '40 days'"
            " WHERE job_id = :id",
            id=bench.job_id(bought),
        )
        old = bench.submit(tiers, texts("u"), cache=True)
        assert bench.status(old)["tiers"]["small"]["cached"] == 0
        bench.execute("UPDATE cascade_store.answer SET answered_at = now()")
        delete_job(bench.engine, bought)
        after = bench.submit(tiers, texts("u"), cache=True)
        assert bench.status(after)["tiers"]["small"]["cached"] == 0
    assert [r.answer for r in bench.results(copied)] == ["u"]


async def test_answers_that_are_cut_off_or_unfit_are_not_taken_over(bench: Bench):
    async with provider(small={"echo": True}) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=1)]
        output = {"choices": ["one two three", "four"]}
        await bench.run(
            bench.submit(tiers, texts("one two three", "unfit"), output=output, cache=True), tiers
        )
        again = bench.submit(tiers, texts("one two three", "unfit"), output=output, cache=True)
    assert bench.status(again)["tiers"]["small"]["cached"] == 0


async def test_a_cancelled_job_and_one_that_goes_on_have_the_answers_of_their_leaders(
    bench: Bench,
):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, texts("k", "k", "l", "l"), cache=True, chunk_rows=1)
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        cancel_job(bench.engine, job)
        assert [r.answer for r in bench.results(job)] == ["k", "k"]
        assert bench.status(job)["rows"]["answered"] == 2
        assert bench.audit(job).differences == []
        bench.execute("UPDATE cascade_store.job SET state = 'running' WHERE name = :j", j=job)
        await bench.run(job, tiers)
        assert [r.answer for r in bench.results(job)] == ["k", "k", "l", "l"]
        saved = bench.status(job)["saved_nanousd"]
        raise_budget(bench.engine, job, 10**9, NO_PLAN, actor="test")
        await bench.run(job, tiers)
        assert served.bill()["models"]["small"]["calls"] == 2
    status = bench.status(job)
    assert (status["rows"]["answered"], status["saved_nanousd"]) == (4, saved)
    assert bench.audit(job).differences == []


async def test_a_leader_that_is_escalated_takes_its_followers_along(bench: Bench):
    models = {"small": {"echo": True}, "large": {"echo": True}}
    async with provider(**models) as served:
        tiers = [bench.tier(served, "small"), bench.tier(served, "large")]
        for policy in ("auto", "every"):
            rows = texts(*[f"{policy} {n % 30}" for n in range(90)])
            job = bench.submit(tiers, rows, cache=True, policy=policy, chunk_rows=7)
            await bench.run(job, tiers)
            assert bench.status(job)["rows"]["answered"] == 90
            results = bench.results(job)
            assert [r.answer for r in results] == [row["text"] for row in rows]
            assert [r.tier for r in results[:30]] == [r.tier for r in results[60:]]
            assert bench.audit(job).differences == []
        bill = served.bill()
    assert bill["models"]["small"]["calls"] <= 60
    assert bill["duplicates"] == 0


async def test_a_leader_that_is_lost_holds_its_money_once_and_is_asked_again(bench: Bench):
    fault = {"kind": "reset", "match": "lost", "first": 1}
    async with provider(small=True, faults=[fault]) as served:
        tiers = [bench.tier(served, "small")]
        job = bench.submit(tiers, texts("lost", "lost", "lost"), cache=True)
        await bench.run(job, tiers)
        assert served.bill()["models"]["small"]["calls"] <= 2
    status = bench.status(job)
    assert [r.answer for r in bench.results(job)] == ["lost"] * 3
    assert sum(lost["calls"] for lost in status["at_risk_calls"]) == 1
    assert bench.audit(job).differences == []


async def test_two_jobs_at_once_use_what_is_committed(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        running = bench.submit(tiers, texts("r1", "r2"), cache=True, chunk_rows=1)
        bench.hold_back(running, 1)
        at_once = bench.submit(tiers, texts("r1", "r2"), cache=True)
        assert bench.status(at_once)["tiers"]["small"]["cached"] == 0
        async with bench.worker(tiers) as worker:
            await worker.drive()
        later = bench.submit(tiers, texts("r1", "r2", "r1"), cache=True)
        assert bench.status(later)["tiers"]["small"]["cached"] >= 1
        shown = [(r.row_no, r.answer) for r in bench.results(later)]
        assert (0, "r1") in shown  # the follower waits for the end of its job
        assert all(row_no != 2 for row_no, _ in shown)
        for job in (running, at_once, later):
            await bench.run(job, tiers)
            assert bench.audit(job).differences == []
    assert [r.answer for r in bench.results(later)] == ["r1", "r2", "r1"]


async def test_a_submission_that_breaks_off_leaves_nothing_and_can_be_repeated(bench: Bench):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small")]
        await bench.run(bench.submit(tiers, texts("s1", "s2"), cache=True), tiers)

        class Broken:
            def plan_wave(self, *_args: object, **_more: object) -> None:
                raise RuntimeError("broken off")

        with pytest.raises(RuntimeError):
            bench.submit(tiers, texts("s1", "s1"), name="again", cache=True, planner=Broken())
        assert bench.one("SELECT count(*) FROM cascade_store.job WHERE name = 'again'") == 0
        job = bench.submit(tiers, texts("s1", "s1"), name="again", cache=True)
        await bench.run(job, tiers)
        bench.plan(job)
        assert served.bill()["models"]["small"]["calls"] == 2
    assert bench.status(job)["rows"]["answered"] == 2
    assert bench.audit(job).differences == []
