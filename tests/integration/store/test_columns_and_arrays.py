"""What goes to Postgres as a literal, and comes back as a block of bytes, is what it was."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from cascade_batch.store import arrays
from cascade_batch.store import columns as store_columns
from cascade_batch.store.columns import read_columns, stream_columns, write_columns
from cascade_batch.store.engine import libpq_url

LENIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)


@pytest.fixture(scope="module")
def connection(fresh_database: str):
    with psycopg.connect(libpq_url(fresh_database), autocommit=True) as connection:
        yield connection


def back(connection, literal: str, kind: str):
    return connection.execute(f"SELECT %s::{kind}[]", (literal,)).fetchone()[0]


@LENIENT
@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
)
def test_texts_survive(connection, values):
    assert back(connection, arrays.texts(values), "text") == values


@pytest.mark.parametrize(
    "text", ["NULL", "null", "", " ", "{}", "{a,b}", '"', "\\", '\\"', "\n,\t", "a,b"]
)
def test_texts_that_look_like_syntax_survive(connection, text):
    assert back(connection, arrays.texts([text, None]), "text") == [text, None]


@LENIENT
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_survive(connection, values):
    assert back(connection, arrays.numbers(values), "bigint") == values


@LENIENT
@given(st.lists(st.none() | st.floats(width=32)))
def test_numbers_survive(connection, values):
    found = back(connection, arrays.numbers(values), "real")
    assert len(found) == len(values)
    for a, b in zip(found, values, strict=True):
        if b is None:
            assert a is None
        else:
            np.testing.assert_equal(np.float32(a), np.float32(b))


@LENIENT
@given(st.lists(st.none() | st.booleans()))
def test_booleans_survive(connection, values):
    assert back(connection, arrays.booleans(values), "boolean") == values


@LENIENT
@given(
    st.lists(
        st.tuples(
            st.integers(-(2**15), 2**15 - 1),
            st.integers(-(2**31), 2**31 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(width=32, allow_nan=False),
            st.floats(allow_nan=False),
        ),
        max_size=50,
    )
)
def test_blocks_of_columns_are_read_whole(connection, rows):
    kinds = ["int2", "int4", "int8", "float4", "float8"]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in kinds]
    literals = ", ".join(
        f"'{arrays.numbers(column)}'::{kind}[]" for column, kind in zip(columns, kinds, strict=True)
    )
    found = read_columns(
        connection, f"SELECT * FROM unnest({literals})", [(kind, kind) for kind in kinds]
    )
    for column, kind in zip(columns, kinds, strict=True):
        assert found[kind].dtype.isnative
        np.testing.assert_array_equal(found[kind], np.array(column, dtype=found[kind].dtype))


KINDS = [("a", "int2"), ("b", "int4"), ("c", "int8"), ("d", "float4"), ("e", "float8")]


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_what_is_written_is_read_in_blocks_of_any_size(
    connection, rows: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store_columns, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(store_columns, "_BLOCK_ROWS", max(block_bytes // 50, 1))
    connection.execute("DROP TABLE IF EXISTS written")
    listed = ", ".join(f"{name} {kind} NOT NULL" for name, kind in KINDS)
    connection.execute(f"CREATE TEMPORARY TABLE written ({listed}, at serial)")
    draw = np.random.default_rng(rows)
    limits = np.iinfo(np.int64)
    values = [
        draw.integers(-(2**15), 2**15, rows),
        draw.integers(-(2**31), 2**31, rows),
        draw.integers(limits.min, limits.max, rows, endpoint=True),
        np.append(draw.normal(size=rows), np.nan)[-rows:][:rows].astype(np.float32),
        draw.normal(size=rows),
    ]
    write_columns(connection, sql.Identifier("written"), KINDS, values)
    query = "SELECT a, b, c, d, e FROM written ORDER BY at"
    blocks = list(stream_columns(connection, query, KINDS))
    whole = read_columns(connection, query, KINDS)
    for (name, _), expected in zip(KINDS, values, strict=True):
        np.testing.assert_array_equal(whole[name], expected)
        if blocks:
            np.testing.assert_array_equal(np.concatenate([b[name] for b in blocks]), expected)
    assert bool(blocks) == (rows > 0)


def test_a_null_among_columns_is_an_error_and_no_rubbish(connection):
    query = "SELECT CASE WHEN n <> 3 THEN n END, n FROM generate_series(1, 5) n"
    with pytest.raises(ValueError, match="null"):
        read_columns(connection, query, [("a", "int4"), ("b", "int4")])
