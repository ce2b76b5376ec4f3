"""How many calls the ledger grants, held against a model that tries every prefix."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cascade_batch.ledger.turn import Want
from cascade_batch.store.engine import libpq_url

LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def connection(fresh_database: str):
    with psycopg.connect(libpq_url(fresh_database), autocommit=True) as connection:
        yield connection


def model(free: int, fence: int, wants: list[int], lents: list[int]) -> int:
    """The longest prefix of which every part could be granted by itself."""
    granted = 0
    for n in range(1, len(wants) + 1):
        want, lent = sum(wants[:n]), sum(lents[:n])
        fits = want == 0 or want <= free
        keeps_the_fence = want <= lent or free - want >= fence - lent
        if not (fits and keeps_the_fence):
            break
        granted = n
    return granted


amounts = st.integers(0, 30)
calls = st.lists(st.tuples(amounts, amounts), max_size=8)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(free=st.integers(-20, 100), fence=st.integers(0, 100), calls=calls)
@example(free=-5, fence=0, calls=[(0, 0), (0, 0)])
@example(free=10, fence=10, calls=[(10, 10)])
@example(free=10, fence=20, calls=[(10, 10), (1, 1)])
@example(free=LARGEST, fence=0, calls=[(LARGEST, 0), (LARGEST, 0)])
@example(free=LARGEST, fence=LARGEST, calls=[(1, 0)])
def test_what_is_granted_is_the_longest_affordable_prefix(connection, free, fence, calls):
    wants, lents = [w for w, _ in calls], [e for _, e in calls]
    found = connection.execute(
        "SELECT cascade_store.affordable(%s, %s, %s::bigint[], %s::bigint[])",
        (free, fence, wants, lents),
    ).fetchone()
    assert found == (model(free, fence, wants, lents),)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
@given(
    free=st.integers(0, 100),
    others=st.integers(0, 60),
    own=st.lists(amounts, max_size=6),
    escalations=st.lists(amounts, max_size=6),
)
def test_escalations_never_take_what_unanswered_rows_need(
    connection, free, others, own, escalations
):
    """Whatever is granted: if the fence was covered before, it is covered afterwards."""
    fence = others + sum(own)
    wants = [*escalations, *own]
    lents = [*(0 for _ in escalations), *own]
    (granted,) = connection.execute(
        "SELECT cascade_store.affordable(%s, %s, %s::bigint[], %s::bigint[])",
        (free, fence, wants, lents),
    ).fetchone()
    taken, lent = sum(wants[:granted]), sum(lents[:granted])
    assert taken <= free
    if free >= fence:
        assert free - taken >= fence - lent


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)
@given(
    free=st.integers(-5, 40),
    fence=st.integers(0, 40),
    refused=st.tuples(amounts, amounts),
    calls=calls,
)
def test_what_is_given_up_with_a_refused_call_could_not_have_been_reserved_either(
    connection, free, fence, refused, calls
):
    def fits(worst: int, lent: int) -> bool:
        (granted,) = connection.execute(
            "SELECT cascade_store.affordable(%s, %s, %s::bigint[], %s::bigint[])",
            (free, fence, [worst], [lent]),
        ).fetchone()
        return granted == 1

    if fits(*refused):
        return
    for worst, lent in calls:
        if fits(worst, lent):
            assert Want(0, worst, lent, True).may_fit_where_not(Want(0, *refused, True))
