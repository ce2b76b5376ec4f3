"""Jobs that were in the middle of their drafts when the schema was changed go on under the new one."""

from __future__ import annotations

import pytest
from alembic import command

from cascade_batch.store import migrate
from cascade_batch.store.migrate import upgrade
from tests.integration.engine.bench import Bench, provider

CHOOSY = {"simulate": {"choices": ["a", "b"], "accuracy": 0.5}}
DEAR = {**CHOOSY, "price": {"input": "10", "output": "20"}}


def back_to_the_first_schema(bench: Bench) -> None:
    bench.engine.dispose()
    with bench.engine.connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        try:
            command.downgrade(config, "0001")
        finally:
            config.attributes.pop("connection")
        connection.commit()
    bench.engine.dispose()


@pytest.mark.parametrize("policy", ["confidence", "dearest"])
async def test_a_job_of_the_first_schema_is_brought_to_its_end(bench: Bench, policy: str):
    async with provider(small=CHOOSY, large=DEAR) as served:
        tiers = [
            bench.tier(served, "small"),
            bench.tier(served, "large", price={"input": "10", "output": "20"}),
        ]
        job = bench.submit(
            tiers, [{"text": f"row {n}", "gold": "a"} for n in range(40)], chunk_rows=5, gold="gold",
            policy=policy, budget_nanousd=60_000_000, output={"choices": ["a", "b"]},
        )  # fmt: skip
        bench.hold_back(job, 4)
        async with bench.worker(tiers) as worker:
            await worker.drive()
        assert 0 < bench.status(job)["rows"]["answered"] < 40
        back_to_the_first_schema(bench)
        # It fenced off what each row needs on the tier that it is asked on.
        bench.execute(
            "UPDATE cascade_store.balance b"
            " SET ring_fence_nanousd = (SELECT sum(r.worst_nanousd[c.tier_no + 1])"
            " FROM cascade_store.chunk c JOIN cascade_store.row r ON r.job_id = c.job_id"
            "  AND (r.row_no = ANY (c.row_nos)"
            "       OR c.row_nos IS NULL AND r.row_no >= c.row_from AND r.row_no < c.row_to)"
            " WHERE c.job_id = b.job_id AND c.state = 'ready') WHERE job_id = :j",
            j=bench.job_id(job),
        )  # fmt: skip
        upgrade(bench.engine)
        async with bench.worker(tiers) as worker:
            await bench.finish(job, worker)
        bill = served.bill()
    status = bench.status(job)
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == 40
    assert status["labels"] == "check"
    assert status["spent_nanousd"] == bill["total_nanousd"] <= 60_000_000
    assert bench.audit(job).differences == []
