"""What happens to a job while its plan is being made: nobody waits for the planner, and no stale plan is
acted upon. The planner itself does what a user would do meanwhile: if it held a lock, it would wait for
itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from cascade_batch.engine import control
from cascade_batch.engine.retry import retry_failed
from cascade_batch.store.engine import make_engine, sqlalchemy_url
from tests.integration.engine.bench import Bench, provider
from tests.integration.engine.scripted_planner import Script, buy, start_all

ROOMY = {"max_output_tokens": 64}


@pytest.fixture
def user(bench: Bench) -> Iterator[sa.Engine]:
    """Somebody else's connections, who wait for no lock."""
    engine = sa.create_engine(
        sqlalchemy_url(bench.database_url), connect_args={"options": "-c lock_timeout=2000"}
    )
    yield engine
    engine.dispose()


def meanwhile(act: Callable[[], object], then) -> Callable:
    def step(view):
        act()
        return then(view)

    return step


async def drafted(bench: Bench, served, script: Script) -> tuple[str, list]:
    """A job whose drafts are answered and whose next wave is due."""
    tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
    script.steps.insert(0, start_all())
    job = bench.submit(tiers, 10, chunk_rows=5, planner=script)
    async with bench.worker(tiers) as worker:
        await worker.drive()
    return job, tiers


def trace(bench: Bench, job: str) -> dict[str, object]:
    j = bench.job_id(job)
    return {
        "chunks": bench.one("SELECT count(*) FROM cascade_store.chunk WHERE job_id = :j", j=j),
        "decisions": bench.one("SELECT count(*) FROM cascade.decisions WHERE job = :j", j=job),
        "waves": bench.one("SELECT count(*) FROM cascade.waves WHERE job = :j", j=job),
        "fence": bench.status(job)["ring_fence_nanousd"],
    }


ESCALATE = buy([(row, 1) for row in range(10)])


@pytest.mark.parametrize("how", ["pause", "cancel"])
async def test_a_job_that_is_stopped_during_planning_stays_as_it_was(
    bench: Bench, user: sa.Engine, how: str
):
    act = {"pause": control.pause_job, "cancel": control.cancel_job}[how]
    async with provider(small=True, large=True) as served:
        script = Script()
        job, tiers = await drafted(bench, served, script)
        before = trace(bench, job)
        script.steps = [meanwhile(lambda: act(user, job), ESCALATE)]
        assert bench.plan(job, script) is None
        assert bench.state(job) == {"pause": "paused", "cancel": "cancelled"}[how]
        assert trace(bench, job) == before
        script.steps = [ESCALATE]
        control.resume_job(user, job, bench.messages)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker, script)
        assert served.bill()["models"]["large"]["calls"] == 10
    assert bench.audit(job).is_ok


async def test_a_job_that_is_paused_during_its_last_planning_is_not_finished(
    bench: Bench, user: sa.Engine
):
    async with provider(small=True, large=True) as served:
        script = Script()
        job, _ = await drafted(bench, served, script)
        script.steps = [meanwhile(lambda: control.pause_job(user, job), buy([]))]
        assert bench.plan(job, script) is None
    assert bench.state(job) == "paused"
    assert not bench.one(
        "SELECT count(*) FROM cascade_store.choice WHERE job_id = :j", j=bench.job_id(job)
    )


async def test_money_that_is_added_during_the_last_planning_is_planned_with(
    bench: Bench, user: sa.Engine
):
    async with provider(small=True, large=True) as served:
        script = Script()
        job, _ = await drafted(bench, served, script)
        add = 12_345_678

        def act() -> None:
            control.raise_budget(user, job, add, bench.messages, actor="me")

        script.steps = [meanwhile(act, buy([])), buy([(3, 1)])]
        assert bench.plan(job, script).purchases == 1
    poor, rich = script.views[-2:]
    assert rich.free_nanousd == poor.free_nanousd + add
    assert bench.state(job) == "running"


async def test_money_that_is_added_during_planning_does_not_hold_up_a_wave(
    bench: Bench, user: sa.Engine
):
    async with provider(small=True, large=True) as served:
        script = Script()
        job, _ = await drafted(bench, served, script)

        def act() -> None:
            control.raise_budget(user, job, 1, bench.messages, actor="me")

        script.steps = [meanwhile(act, ESCALATE)]
        assert bench.plan(job, script).purchases == 10


async def test_a_job_that_was_paused_and_resumed_during_planning_is_planned_anew(
    bench: Bench, user: sa.Engine
):
    """Its tiers and rows may have got another chance, of which the plan knows nothing."""
    async with provider(small=True, large=True) as served:
        script = Script()
        job, _ = await drafted(bench, served, script)

        def act() -> None:
            control.pause_job(user, job)
            control.resume_job(user, job, bench.messages)

        script.steps = [meanwhile(act, ESCALATE), buy([(7, 1)])]
        assert bench.plan(job, script).purchases == 1
    assert trace(bench, job)["waves"] == 2


async def test_rows_that_get_another_chance_during_the_last_planning_are_asked(
    bench: Bench, user: sa.Engine
):
    faults = [{"kind": "bad_request", "first": 1, "match": "row 2$"}]
    async with provider(small=True, faults=faults) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        script = Script(start_all())
        job = bench.submit(tiers, 4, planner=script)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            assert bench.status(job)["rows"]["answered"] == 3

            def act() -> None:
                retry_failed(user, job, bench.messages)

            script.steps = [meanwhile(act, buy([])), buy([(2, 0)])]
            assert bench.plan(job, script).purchases == 1
            await bench.finish(job, worker, script)
    assert bench.status(job)["rows"]["answered"] == 4
    assert bench.audit(job).is_ok


async def test_only_one_plans_and_whoever_was_sent_away_is_called_again(bench: Bench):
    """What happened while a plan was made is not forgotten: the message that told of it was in vain."""
    async with provider(small=True, large=True) as served:
        script = Script()
        tiers = [bench.tier(served, "small", **ROOMY), bench.tier(served, "large", **ROOMY)]
        script.steps = [start_all()]
        job = bench.submit(tiers, 20, chunk_rows=5, planner=script)
        bench.hold_back(job, 1)
        second = Script(ESCALATE)

        def act() -> None:
            assert bench.plan(job, second) is None
            # The last chunk is done while nobody can be told.
            bench.execute(
                "UPDATE cascade_store.chunk SET state = 'done' WHERE job_id = :j",
                j=bench.job_id(job),
            )

        async with bench.worker(tiers) as worker:
            await worker.drive()
        bench.rested(job)
        script.steps = [meanwhile(act, buy([]))]
        bench.messages.plans.clear()
        assert bench.plan(job, script) is None
    assert second.views == []
    assert bench.messages.plans == [job]


async def test_a_planner_that_fails_leaves_the_way_free_for_the_next(bench: Bench):
    async with provider(small=True, large=True) as served:
        script = Script()
        job, _ = await drafted(bench, served, script)

        def fail(view):
            raise RuntimeError("no idea")

        script.steps = [fail, ESCALATE]
        with pytest.raises(RuntimeError, match="no idea"):
            bench.plan(job, script)
        assert "no idea" in bench.status(job)["reason"]
        other = make_engine(bench.database_url)
        assert bench.plan(job, script).purchases == 10
        other.dispose()
    assert bench.status(job)["reason"] is None
