"""Jobs that start early, from Python: rows are answered while a generator makes the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import cascade_batch
from cascade_batch.errors import DataError, JobNotFoundError, UsageError

PROMPT = "Up, down or none? {{ headline }}"
CHOICES = {"choices": ["up", "down", "none"]}


def test_rows_are_answered_while_a_generator_makes_the_others(folder):
    may_end = threading.Event()

    def rows():
        yield {"headline": "Gold jumps"}
        may_end.wait()
        yield {"headline": "Gold falls"}

    options = {"prompt": PROMPT, "output": CHOICES, "budget": 0.05, "name": "as it comes"}
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(cascade_batch.submit, rows(), start_early=True, **options)
        try:
            while "as it comes" not in cascade_batch.jobs().index:
                assert not submitted.done()
            job = cascade_batch.job("as it comes")
            while job.progress().rows_answered == 0:
                assert not submitted.done()
            assert job.progress().reading
            assert job.results()["value"].tolist() == ["up"]
            with pytest.raises(UsageError, match="is still being read"):
                cascade_batch.job("as it comes", pd.DataFrame({"headline": ["Gold jumps"]}))
        finally:
            may_end.set()
        done = submitted.result().wait(progress=False)
    assert not done.progress().reading
    assert done.results()["value"].tolist() == ["up", "down"]


def answered(name: str) -> int:
    """Rows of a job that have an answer; 0 while there is no such job."""
    try:
        return cascade_batch.job(name).progress().rows_answered
    except JobNotFoundError:
        return 0


def test_a_generator_that_breaks_down_costs_what_was_answered_once(folder):
    def made(breaks: bool):
        yield {"headline": "Gold soars"}
        if breaks:
            while answered("broken") < 1:
                pass
            yield {"no headline": "?"}
        yield {"headline": "Gold rises"}

    asked = {"prompt": PROMPT, "output": CHOICES, "budget": 0.1}
    with pytest.raises(DataError, match=r"rows\[1\]") as found:
        cascade_batch.submit(made(True), name="broken", start_early=True, **asked)
    assert "taken over at no cost" in found.value.__notes__[0]
    assert "--" not in found.value.__notes__[0]
    bought = cascade_batch.job("broken").progress()
    assert (bought.status, bought.rows_answered) == ("cancelled", 1)

    job = cascade_batch.submit(made(False), name="mended", **asked)
    assert job.wait(progress=False).results()["value"].tolist() == ["up", "up"]
    assert job.progress().saved_usd == bought.spent_usd > 0
