"""Data sets that a program holds: values as from a Parquet file, errors that name the program's rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cascade_batch.datasets import InMemory, read_records
from cascade_batch.errors import DataError, UsageError


def fields_of(data) -> list[dict]:
    return [record.fields for record in InMemory(data).read()]


def typed_frame() -> pd.DataFrame:
    berlin = pd.to_datetime(["2024-01-01", "2024-07-01", None]).tz_localize("Europe/Berlin")
    times = pd.to_datetime(["2024-01-01", "2024-01-02 03:04:05.123456789", None], format="ISO8601")
    return pd.DataFrame(
        {
            "text": ["a", None, "ü"],
            "whole": [1, 2, 3],
            "number": [1.5, np.nan, np.inf],
            "single": np.array([0.1, 0.2, 0.3], dtype="float32"),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "category": pd.Categorical(["x", "y", None]),
            "time": times,
            "zoned": berlin,
            "duration": pd.to_timedelta([1.5, 2, None], unit="s"),
            "date": [dt.date(2024, 1, 1)] * 3,
            "clock": [dt.time(1, 2)] * 3,
            "decimal": [Decimal("1.10")] * 3,
            "list": [["a"], [], None],
            "array": [np.array([1.5, 2]), np.array([]), np.array([3.0])],
            "object": [{"a": [1]}, {"a": [2]}, {"a": None}],
            "scalars": pd.Series([np.float64(1), np.float64("nan"), None], dtype=object),
        },
        index=pd.Index(["p", "q", "r"], name="id"),
    )


def test_a_frame_gives_the_values_that_its_parquet_file_would_give(tmp_path):
    frame = typed_frame()
    frame.to_parquet(tmp_path / "frame.parquet")

    records = list(InMemory(frame).read())

    of_file = [record.fields for record in read_records(str(tmp_path / "frame.parquet"))]
    assert [record.fields for record in records] == of_file
    assert [record.custom_id for record in records] == ["p", "q", "r"]


def test_an_arrow_table_gives_the_same(tmp_path):
    table = pa.Table.from_pandas(typed_frame())
    pa.parquet.write_table(table, tmp_path / "table.parquet")

    of_file = [record.fields for record in read_records(str(tmp_path / "table.parquet"))]
    assert fields_of(table) == of_file


def test_dicts_keep_their_own_keys_and_may_hold_what_pandas_and_numpy_have():
    rows = [
        {"at": pd.Timestamp("2024-01-01"), "of": np.array([{"a": 1}], dtype=object)},
        {"at": pd.NaT, "number": np.int8(3), "none": pd.NA, "took": np.timedelta64(1500, "ms")},
    ]

    assert fields_of(row for row in rows) == [
        {"at": "2024-01-01T00:00:00", "of": [{"a": 1}]},
        {"at": None, "number": 3, "none": None, "took": 1.5},
    ]


def test_more_rows_than_a_slice_holds_come_in_order_under_a_limit():
    frame = pd.DataFrame({"n": range(10_000)})

    assert [fields["n"] for fields in fields_of(frame)] == list(range(10_000))
    assert len(list(InMemory(frame).read(limit=5000))) == 5000


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (pd.DataFrame({"a": ["x", b"y"]}, index=["u", "v"]), "DataFrame, index 'v': column 'a'"),
        (pd.DataFrame({"a": [1 + 2j]}, index=[7]), "DataFrame, index 7: column 'a'"),
        (pd.DataFrame({"a": pd.period_range("2024", "2024", freq="Y")}), "index 0: column 'a'.*Period"),
        (pd.DataFrame({"a": ["x\0"]}), "index 0: column 'a': the record holds a NUL"),
        (pd.DataFrame({"id": [5, 5]}, index=["u", "v"]), "index 'v': the id '5' is that of index 'u'"),
        (pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)])).assign(b=[{1}]),
         r"index \('x', 1\): column 'b'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "DataFrame: 2 columns are called 'a'"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")), "2 columns are called 'a'"),
        (pd.DataFrame({3: [1]}), "the name of column 3 is no text but of type int"),
        (pd.DataFrame({("a", "b"): [1]}), r"the name of column \('a', 'b'\)"),
        (pd.DataFrame({"a": []}), "DataFrame: it holds no row"),
        (pd.DataFrame(index=[1, 2]), "DataFrame: it has no columns"),
        (pa.table({"a": [b"x"]}), "table: column 'a' holds bytes"),
        ([{"a": 1}, "text"], r"rows\[1\]: a record is a dict, not 'text'"),
        ([{"a": {1}}], r"rows\[0\]: column 'a'"),
        ([{1: 2}], r"rows\[0\]: a value has no JSON form"),
        ([], "rows: it holds no record"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_by_the_names_that_a_program_knows(data, told):
    with pytest.raises(DataError, match=told):
        fields_of(data)


@pytest.mark.parametrize(
    ("data", "hint"),
    [(pd.Series(["a"]), "to_frame"), ({"a": 1}, "into a list"), (5, "DataFrame"), (b"x", "file")],
)
def test_what_is_no_data_set_is_refused_with_what_is_one(data, hint):
    with pytest.raises(UsageError) as refused:
        InMemory(data)

    assert hint in refused.value.hint


def test_bad_records_are_left_out_and_told():
    bad: list[DataError] = []
    frame = pd.DataFrame({"a": ["x", b"y", "z"]})

    kept = list(InMemory(frame).read(on_bad=bad.append))

    assert [(record.line_no, record.fields) for record in kept] == [
        (1, {"a": "x"}),
        (3, {"a": "z"}),
    ]
    assert [(error.source, error.line_no) for error in bad] == [("DataFrame", 2)]
