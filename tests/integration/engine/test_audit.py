"""What `audit` says of a finished job in which somebody has meddled."""

from __future__ import annotations

import pytest

from tests.integration.engine.bench import Bench, provider

_MEDDLED = {
    "1 tiers whose spending": "UPDATE cascade_store.job_tier SET spent_nanousd = spent_nanousd + 1"
    " WHERE job_id = :job",
    "1 leases ran out": "UPDATE cascade_store.chunk SET state = 'leased', lease_expires_at ="
    " now() - interval '2 min' WHERE job_id = :job",
    "chunks are open": "UPDATE cascade_store.chunk SET state = 'ready' WHERE job_id = :job",
    "rows counted as failed: 1 against 0": "UPDATE cascade_store.job SET rows_failed = 1"
    " WHERE job_id = :job",
    "chosen for 1 rows are not there": "UPDATE cascade_store.choice SET sample_no = 7"
    " WHERE job_id = :job AND row_no = 3",
    "1 rows are neither answered nor failed": "DELETE FROM cascade_store.choice"
    " WHERE job_id = :job AND row_no = 3",
    "lent by the ring fence": "UPDATE cascade_store.balance SET lent_nanousd = 5 WHERE job_id = :job",
    "5 are fenced off": "UPDATE cascade_store.balance SET ring_fence_nanousd = 5 WHERE job_id = :job",
}


@pytest.mark.parametrize("said", _MEDDLED)
async def test_an_audit_tells_what_was_meddled_with(bench: Bench, said: str):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=64)]
        job = bench.submit(tiers, 5)
        await bench.run(job, tiers)
    assert bench.audit(job).is_ok
    bench.execute(_MEDDLED[said], job=bench.job_id(job))
    said = said.removeprefix("1 tiers ").removeprefix("1 leases ")
    assert any(said in difference for difference in bench.audit(job).differences)
