"""Rows are cut into chunks: each once, on its tier, in the order in which they should be bought."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.engine.chunks import PUBLISHED_AT_ONCE, cut_into_chunks, notice, spread

TIERS = ["small", "middle", "large"]


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
    chunks = list(cut_into_chunks(7, 3, TIERS, row_no, tier_no, chunk_rows))
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


@given(purchases(), st.integers(1, 50))
def test_the_most_urgent_rows_are_in_the_first_chunks(purchases, chunk_rows):
    row_no, tier_no = purchases
    place = {int(row): n for n, row in enumerate(row_no)}
    chunks = list(cut_into_chunks(1, 1, TIERS, row_no, tier_no, chunk_rows))
    firsts = [place[rows_of(chunk)[0]] for chunk in chunks]
    assert firsts == sorted(firsts)


def test_neighbouring_rows_need_no_list():
    rows = np.arange(10, 20, dtype=np.int32)
    (chunk,) = cut_into_chunks(1, 0, TIERS, rows, np.zeros(10, dtype=np.int16), 50)
    assert chunk["row_nos"] is None
    assert (chunk["row_from"], chunk["row_to"]) == (10, 20)


def test_every_tier_is_told_however_many_chunks_one_has():
    rows = np.arange(1000, dtype=np.int32)
    tiers = np.where(rows < 990, 0, 2).astype(np.int16)
    chunks = list(cut_into_chunks(1, 0, TIERS, rows, tiers, 1))
    told = spread([notice("job", n, chunk) for n, chunk in enumerate(chunks)])
    assert len(told) <= PUBLISHED_AT_ONCE
    assert {one.tier for one in told} == {"small", "large"}
    assert sum(one.tier == "large" for one in told) == 10
