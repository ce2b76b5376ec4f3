"""What a job would come to, asked from Python as docs/estimate.md tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cascade_batch
from cascade_batch.errors import UsageError

PAGE = Path(__file__).parents[3] / "docs" / "estimate.md"
WORDS, LABELS = ("jumps", "falls", "rests"), ("up", "down", "none")
ROWS = pd.DataFrame(
    [{"headline": f"Gold {WORDS[no % 3]} {no}", "label": LABELS[no % 3]} for no in range(40)]
)


def test_the_page_on_estimates_tells_the_truth(folder):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    names: dict[str, Any] = {"cascade_batch": cascade_batch, "df": ROWS}

    exec(block, names)

    found, job = names["found"], names["job"]
    heard = found["pilot"]
    assert found["rows"] == heard["rows"] == 40
    assert 0 < found["minimum_budget_usd"] < found["tiers"]["large"]["worst_case_usd"]
    assert heard["tiers"]["small"]["accuracy"] == 1
    assert heard["spent_usd"] <= 0.10
    assert heard["recommended"]["budget_usd"] >= found["minimum_budget_usd"]
    assert cascade_batch.job(heard["job"]).status == "finished"
    assert (job.wait(progress=False).results()["answer"] == ROWS["label"]).all()


def test_an_estimate_needs_no_service_and_no_budget(folder):
    found = cascade_batch.estimate(ROWS, prompt="{{ headline }}", gold="label")

    assert (found["budget_usd"], found["pilot"]) == (None, None)


def test_what_is_no_amount_is_told(folder):
    with pytest.raises(UsageError, match="pilot"):
        cascade_batch.estimate(ROWS, prompt="{{ headline }}", pilot="much")
