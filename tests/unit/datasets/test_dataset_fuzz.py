"""Whatever the bytes: records that keep their promises, or an error that is meant for users."""

import gzip
import json
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade_batch.datasets import read_records
from cascade_batch.errors import DataError, UsageError

jsonish = st.lists(
    st.one_of(
        st.sampled_from(
            [b"{", b"}", b'"', b"\\", b"\\u0000", b"\\ud800", b":", b",", b"[", b"]", b"\n", b"\r"]
        ),
        st.sampled_from(
            [b'{"id": ', b'{"a": 1}\n', b"NaN", b"1e999", b"\xff", b"\xef\xbb\xbf", b"\0", b" "]
        ),
        st.binary(max_size=4),
    )
).map(b"".join)

csvish = st.lists(
    st.one_of(
        st.sampled_from(
            [b"a,b\n", b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"1,2\n", b"id", b"\0"]
        ),
        st.sampled_from([b"\xef\xbb\xbf", b"\xff", b";", b"x"]),
        st.binary(max_size=4),
    )
).map(b"".join)


def check(folder: Path, name: str, content: bytes) -> int:
    path = folder / name
    path.write_bytes(content)
    bad: list[DataError] = []
    good = 0
    try:
        for record in read_records(str(path), on_bad=bad.append):
            good += 1
            assert record.line_no >= 1
            text = orjson.dumps(record.fields)  # JSON values alone, and no lone surrogates
            assert "\0" not in json.dumps(record.fields, ensure_ascii=False)
            assert orjson.loads(text) == record.fields
            assert record.custom_id is None or record.custom_id.encode()
    except UsageError:
        pass  # the whole file is of no use
    for fault in bad:
        assert fault.line_no is not None
        assert fault.hint
        assert "\n" not in fault.message
    return good


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(st.one_of(jsonish, st.binary()))
def test_json_lines(folder: Path, content: bytes) -> None:
    check(folder, "d.jsonl", content)


@given(st.one_of(csvish, st.binary()))
def test_csv(folder: Path, content: bytes) -> None:
    check(folder, "d.csv", content)


@given(st.one_of(csvish, st.binary()))
def test_csv_after_a_header(folder: Path, content: bytes) -> None:
    check(folder, "d.csv", b"a,b\n" + content)


@given(st.binary(), st.sampled_from(["d.jsonl.gz", "d.jsonl.zst", "d.csv.gz", "d.parquet"]))
def test_packed(folder: Path, content: bytes, name: str) -> None:
    check(folder, name, content)


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_damaged_gzip(folder: Path, place: int, value: int, cut: bool) -> None:
    packed = bytearray(gzip.compress(b'{"a": "some text", "id": "x"}\n' * 3, mtime=0))
    packed[place % len(packed)] = value
    check(folder, "d.jsonl.gz", bytes(packed[: place % len(packed)] if cut else packed))


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
@example(311, 0x80, False).via("a column's name that is not UTF-8")
def test_damaged_parquet(folder: Path, place: int, value: int, cut: bool) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a", "b"], "n": [1.5, None], "l": [[1], []]}), sink)
    content = bytearray(sink.getvalue())
    content[place % len(content)] = value
    check(folder, "d.parquet", bytes(content[: place % len(content)] if cut else content))


fields = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5).filter(
        lambda key: key not in ("id", "custom_id")
    ),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        ),
        lambda values: st.lists(values) | st.dictionaries(st.just("k"), values),
        max_leaves=5,
    ),
)


@given(st.lists(fields, min_size=1))
def test_every_record_written_is_read(folder: Path, records: list[dict[str, object]]) -> None:
    (folder / "d.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in records))
    assert [r.fields for r in read_records(str(folder / "d.jsonl"))] == records
