"""Rows are cut into chunks: each once, on its tier, in the order in which they should be bought."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.job import JobSpec, JobState
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.chunks import PUBLISHED_AT_ONCE, Work, cut_into_chunks, notice, spread
from cascade_batch.engine.jobs import Job
from cascade_batch.policy.view import Action

TIERS = ["small", "middle", "large"]


def job(chunk_rows: int, **spec: Any) -> Job:
    tiers = tuple(Tier(name=name, model="m", max_output_tokens=8) for name in TIERS)
    values = {"name": "job", "data": "d", "budget_nanousd": 0, "tiers": tiers, **spec}
    return Job(
        job_id=7,
        name="job",
        state=JobState.QUEUED,
        reason=None,
        spec=JobSpec.model_validate(values | {"chunk_rows": chunk_rows}),
        rows_total=1,
        labels=None,
        waves=0,
        plan_generation=0,
        planned_calls=None,
    )


def work(row_no, tier_no, **more: Any) -> Work:
    count = len(row_no)
    values = {
        "action": np.zeros(count, dtype=np.int8),
        "is_first": np.ones(count, dtype=bool),
        "promised_nanousd": np.arange(count),
        "fence_part_nanousd": np.arange(count) * 10,
        "is_usual": np.ones(count, dtype=bool),
    }
    return Work(row_no=row_no, tier_no=tier_no, **(values | more))


@st.composite
def purchases(draw):
    rows = draw(st.lists(st.integers(0, 10_000), unique=True, max_size=200))
    if draw(st.booleans()):
        rows.sort()
    tiers = draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    return np.array(rows, dtype=np.int32), np.array(tiers, dtype=np.int16)


def rows_of(chunk) -> list[int]:
    if chunk["row_nos"] is None:
        return list(range(chunk["row_from"], chunk["row_to"]))
    return chunk["row_nos"]


@given(purchases(), st.integers(1, 50))
def test_every_row_is_in_one_chunk_of_its_tier_and_in_order(purchases, chunk_rows):
    row_no, tier_no = purchases
    chunks = cut_into_chunks(job(chunk_rows), 3, work(row_no, tier_no))
    for tier in range(3):
        found = [row for c in chunks if c["tier_no"] == tier for row in rows_of(c)]
        assert found == row_no[tier_no == tier].tolist()
    for chunk in chunks:
        rows = rows_of(chunk)
        assert 0 < len(rows) == chunk["row_count"] <= chunk_rows
        assert chunk["row_from"] == min(rows)
        assert chunk["row_to"] == max(rows) + 1
        assert chunk["tier_name"] == TIERS[chunk["tier_no"]]
        assert (chunk["job_id"], chunk["wave"]) == (7, 3)
    assert sum(c["promised_nanousd"] for c in chunks) == sum(range(len(row_no)))


@given(purchases(), st.integers(1, 50))
def test_the_most_urgent_rows_are_in_the_first_chunks(purchases, chunk_rows):
    row_no, tier_no = purchases
    place = {int(row): n for n, row in enumerate(row_no)}
    chunks = cut_into_chunks(job(chunk_rows), 1, work(row_no, tier_no))
    firsts = [place[rows_of(chunk)[0]] for chunk in chunks]
    assert firsts == sorted(firsts)


def test_neighbouring_rows_need_no_list():
    rows = np.arange(10, 20, dtype=np.int32)
    (chunk,) = cut_into_chunks(job(50), 0, work(rows, np.zeros(10, dtype=np.int16)))
    assert chunk["row_nos"] is None
    assert (chunk["row_from"], chunk["row_to"]) == (10, 20)


def test_every_tier_is_told_however_many_chunks_one_has():
    rows = np.arange(1000, dtype=np.int32)
    tiers = np.where(rows < 990, 0, 2).astype(np.int16)
    chunks = cut_into_chunks(job(1), 0, work(rows, tiers))
    told = spread([notice("job", n, chunk) for n, chunk in enumerate(chunks)])
    assert len(told) <= PUBLISHED_AT_ONCE
    assert {one.tier for one in told} == {"small", "large"}
    assert sum(one.tier == "large" for one in told) == 10


def test_first_answers_are_kept_apart_from_what_may_have_to_wait_for_money():
    rows, tiers = np.arange(6, dtype=np.int32), np.zeros(6, dtype=np.int16)
    is_first = np.array([True, False] * 3)
    firsts, others = cut_into_chunks(job(50), 1, work(rows, tiers, is_first=is_first))
    assert rows_of(firsts) == [0, 2, 4]
    assert rows_of(others) == [1, 3, 5]


def test_parts_of_the_fence_that_are_not_the_usual_ones_are_written_down():
    rows, tiers = np.arange(4, dtype=np.int32), np.ones(4, dtype=np.int16)
    usual = np.array([True, True, True, False])
    plain, odd = cut_into_chunks(job(2), 1, work(rows, tiers, is_usual=usual))
    assert plain["fence_parts"] is None
    assert odd["fence_parts"] == [20, 30]


def test_what_is_bought_decides_who_is_asked():
    rows, tiers = np.arange(3, dtype=np.int32), np.zeros(3, dtype=np.int16)
    action = np.array([Action.ANSWER, Action.SAMPLE, Action.JUDGE], dtype=np.int8)
    asked = work(rows, tiers, action=action, is_first=np.zeros(3, dtype=bool))
    found = cut_into_chunks(job(50, check="judge:large"), 1, asked)
    columns = ("tier_name", "action", "sample_no", "judged_tier_no")
    assert [tuple(chunk[c] for c in columns) for chunk in found] == [
        ("small", 0, 0, None), ("small", 1, 1, None), ("large", 2, 0, 0)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no judge"):
        cut_into_chunks(job(50), 1, asked)
