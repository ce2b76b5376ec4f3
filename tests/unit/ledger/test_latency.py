"""Percentiles from buckets are near those of the latencies themselves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.ledger.latency import BUCKETS, bucket_of, percentile_ms


def counted(latencies):
    buckets = [0] * BUCKETS
    for latency_ms in latencies:
        buckets[bucket_of(latency_ms)] += 1
    return buckets


@given(
    st.lists(st.floats(1, 200_000), min_size=1, max_size=300),
    st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_a_percentile_is_within_five_per_cent(latencies, share):
    exact = sorted(latencies)[max(math.ceil(share * len(latencies)) - 1, 0)]
    found = percentile_ms(counted(latencies), share)
    assert found == pytest.approx(exact, rel=0.0501)


def test_without_calls_there_is_no_latency():
    assert percentile_ms([], 0.5) is None
    assert percentile_ms([0] * BUCKETS, 0.95) is None


@pytest.mark.parametrize("latency_ms", [0, -1, 0.5, 1, 1e9, math.nan, math.inf, -math.inf])
def test_every_latency_has_a_bucket(latency_ms):
    assert 0 <= bucket_of(latency_ms) < BUCKETS


@given(st.floats(0, 10**9), st.floats(0, 10**9))
def test_a_longer_latency_is_never_in_an_earlier_bucket(one, other):
    assert (bucket_of(one) - bucket_of(other)) * (one - other) >= 0
