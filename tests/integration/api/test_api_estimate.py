"""What a job would come to, asked from Python."""

from __future__ import annotations

import pytest

import cascade_batch
from cascade_batch.errors import UsageError

ROWS = [
    {
        "headline": f"Gold {('jumps', 'falls', 'rests')[no % 3]} {no}",
        "label": ("up", "down", "none")[no % 3],
    }
    for no in range(40)
]
JOB = {"prompt": "{{ headline }}", "output": {"choices": ["up", "down", "none"]}, "gold": "label"}


def test_an_estimate_needs_no_service_and_a_pilot_measures(folder):
    found = cascade_batch.estimate(ROWS, **JOB)
    heard = cascade_batch.estimate(ROWS, pilot=0.05, progress=False, **JOB)

    assert (found["rows"], found["pilot"]) == (40, None)
    assert 0 < found["minimum_budget_usd"] < found["tiers"]["large"]["worst_case_usd"]
    assert heard["pilot"]["tiers"]["small"]["accuracy"] == 1
    assert heard["pilot"]["spent_usd"] <= 0.05
    assert heard["pilot"]["recommended"]["budget_usd"] >= found["minimum_budget_usd"]
    assert cascade_batch.job(heard["pilot"]["job"]).status == "finished"


def test_what_is_no_amount_is_told(folder):
    with pytest.raises(UsageError, match="pilot"):
        cascade_batch.estimate(ROWS, pilot="much", **JOB)
