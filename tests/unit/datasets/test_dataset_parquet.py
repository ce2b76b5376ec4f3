import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade_batch.datasets import MAX_ROW_BYTES, read_records
from cascade_batch.errors import DataError


def written(tmp_path: Path, table: pa.Table) -> str:
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    return str(path)


def the_value(tmp_path: Path, value: object, kind: pa.DataType) -> object:
    source = written(tmp_path, pa.table({"v": pa.array([value], kind)}))
    (record,) = read_records(source)
    return record.fields["v"]


def test_rows_ids_and_numbers(tmp_path: Path) -> None:
    table = pa.table({"id": [7, 8, None], "t": ["a", None, "é"], "b": [True, False, None]})
    records = list(read_records(written(tmp_path, table)))
    assert [r.custom_id for r in records] == ["7", "8", None]
    assert [r.line_no for r in records] == [1, 2, 3]
    assert records[1].fields == {"id": 8, "t": None, "b": False}


def test_many_batches_and_row_groups_keep_the_order(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(30_000)), "t": ["x" * 300] * 30_000})
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, row_group_size=7_001)
    assert [r.fields["n"] for r in read_records(str(path))] == list(range(30_000))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (dt.date(2024, 1, 2), pa.date32(), "2024-01-02"),
        (dt.time(1, 2, 3), pa.time64("us"), "01:02:03"),
        (dt.datetime(2024, 1, 2, 3, 4, 5, 6), pa.timestamp("us"), "2024-01-02T03:04:05.000006"),
        (1_700_000_000_123_456_789, pa.timestamp("ns"), "2023-11-14T22:13:20.123456789"),
        (1_700_000_000, pa.timestamp("s", "UTC"), "2023-11-14T22:13:20+00:00"),
        (1_700_000_000, pa.timestamp("s", "Asia/Tokyo"), "2023-11-15T07:13:20+09:00"),
        (1500, pa.duration("ms"), 1.5),
        (Decimal("1234567890123456789.50"), pa.decimal128(30, 2), "1234567890123456789.50"),
        (float("nan"), pa.float64(), None),
        (float("-inf"), pa.float32(), None),
        (2**64 - 1, pa.uint64(), 2**64 - 1),
        ([float("nan"), 1.5], pa.list_(pa.float64()), [None, 1.5]),
        (
            {"d": dt.date(2024, 1, 2), "n": {"x": [1]}},
            pa.struct([("d", pa.date32()), ("n", pa.struct([("x", pa.list_(pa.int8()))]))]),
            {"d": "2024-01-02", "n": {"x": [1]}},
        ),
        ([("a", 1), ("b", 2)], pa.map_(pa.string(), pa.int32()), [["a", 1], ["b", 2]]),
        ("red", pa.dictionary(pa.int8(), pa.string()), "red"),
        (None, pa.null(), None),
        (
            uuid.UUID("12345678-1234-5678-1234-567812345678").bytes,
            pa.uuid(),
            "12345678-1234-5678-1234-567812345678",
        ),
    ],
)
def test_values_become_json(
    tmp_path: Path, value: object, kind: pa.DataType, expected: object
) -> None:
    assert the_value(tmp_path, value, kind) == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary(3),
        pa.list_(pa.binary()),
        pa.struct([("path", pa.string()), ("bytes", pa.binary())]),
        pa.map_(pa.string(), pa.binary()),
        pa.dictionary(pa.int8(), pa.binary()),
    ],
)
def test_bytes_are_refused_by_column(tmp_path: Path, kind: pa.DataType) -> None:
    source = written(tmp_path, pa.table({"a": [1], "image": pa.array([None], kind)}))
    with pytest.raises(DataError, match="column 'image' holds bytes") as raised:
        list(read_records(source, on_bad=lambda error: None))
    assert "base64" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["a", "b\0b", "c"], "NUL character"),
        (pa.array([["a"], ["\0"], []], pa.list_(pa.string())), "NUL character"),
        (pa.array([b"a", b"\xff\xfe", b"c"]).view(pa.string()), "no JSON form"),
        (pa.array([0, 10**15, 1], pa.timestamp("ms")), "no JSON form"),
        (["a", "x" * MAX_ROW_BYTES, "c"], "longer than 16 MiB"),
    ],
)
def test_bad_records(tmp_path: Path, column: object, reason: str) -> None:
    source = written(tmp_path, pa.table({"n": [1, 2, 3], "v": column}))
    bad: list[DataError] = []
    assert [r.fields["n"] for r in read_records(source, on_bad=bad.append)] == [1, 3]
    assert [error.line_no for error in bad] == [2]
    assert reason in bad[0].reason


def test_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="2 columns are called 'a'"):
        list(read_records(written(tmp_path, table)))


def test_duplicate_ids_name_records(tmp_path: Path) -> None:
    source = written(tmp_path, pa.table({"id": ["a", "b", "a"]}))
    with pytest.raises(DataError, match=r":3: the id 'a' is that of record 1 already"):
        list(read_records(source))


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no record"):
        list(read_records(written(tmp_path, pa.table({"a": pa.array([], pa.int8())}))))


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -100])
def test_file_that_is_no_parquet(tmp_path: Path, keep: int) -> None:
    source = written(tmp_path, pa.table({"a": list(range(1000))}))
    Path(source).write_bytes(Path(source).read_bytes()[:keep])
    with pytest.raises(DataError, match="can't be read"):
        list(read_records(source, on_bad=lambda error: None))
