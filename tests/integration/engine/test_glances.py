"""Between two looks at a job a glance tells whether a line about it is due."""

from __future__ import annotations

import pytest

from cascade_batch.client.looking import glancer
from tests.integration.engine.bench import Bench, provider


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cascade_store.job SET state = 'paused' WHERE job_id = :job",
        "UPDATE cascade_store.job SET reason = 'the key is refused' WHERE job_id = :job",
        "UPDATE cascade_store.job_tier SET lost_calls = 1 WHERE job_id = :job AND name = 'large'",
        "UPDATE cascade_store.job_tier SET refused_rows = 1 WHERE job_id = :job AND name = 'small'",
        "UPDATE cascade_store.job SET name = 'another' WHERE job_id = :job",
    ],
    ids=["state", "reason", "lost", "refused", "gone"],
)
async def test_what_a_log_is_told_at_once_is_seen(bench: Bench, change: str):
    async with provider(small=True, large=True) as served:
        job = bench.submit([bench.tier(served, "small"), bench.tier(served, "large")], 20)
    is_unchanged = glancer(bench.engine)
    seen = bench.status(job)
    assert is_unchanged(seen)

    bench.execute(change, job=bench.job_id(job))

    assert not is_unchanged(seen)
