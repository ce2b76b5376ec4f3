import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cascade_batch.datasets import read_records
from cascade_batch.errors import DataError, UsageError

JSONL = b'{"a": "1"}\n{"a": "2"}\n'
CSV = b"a\n1\n2\n"
FIELDS = [{"a": "1"}, {"a": "2"}]


def zst(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", JSONL),
        ("d.ndjson", JSONL),
        ("d.json", JSONL),
        ("D.JSONL", JSONL),
        ("d.csv", CSV),
        ("d.jsonl.gz", gzip.compress(JSONL)),
        ("d.jsonl.gz", gzip.compress(JSONL[:11]) + gzip.compress(JSONL[11:])),
        ("d.csv.gz", gzip.compress(CSV)),
        ("d.jsonl.zst", zst(JSONL)),
        ("d.jsonl.zst", zst(JSONL[:11]) + zst(JSONL[11:])),
        ("d.csv.zst", zst(CSV)),
    ],
)
def test_formats_by_ending(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert [r.fields for r in read_records(str(tmp_path / name))] == FIELDS


@pytest.mark.parametrize("source", ["d.txt", "d", "", "d.parquet.gz", "d.xlsx", "jsonl", "d.gz"])
def test_unknown_ending_lists_what_is_known(source: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_records(source)
    assert all(known in (raised.value.hint or "") for known in (".jsonl", ".csv", ".parquet"))


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="limit"):
        read_records("d.jsonl", limit=limit)


def test_a_missing_file_is_answered_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "reviews.jsonl").write_text("{}")
    with pytest.raises(DataError, match="no such file") as raised:
        list(read_records(str(tmp_path / "review.jsonl"), on_bad=lambda error: None))
    assert "reviews.jsonl" in str(raised.value.hint)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "jsonl.gz", "csv.zst"])
def test_missing_file_and_folder(tmp_path: Path, ending: str) -> None:
    missing = str(tmp_path / f"d.{ending}")
    with pytest.raises(DataError, match="no such file") as raised:
        list(read_records(missing, on_bad=lambda error: None))
    assert missing in str(raised.value)
    (tmp_path / f"d.{ending}").mkdir()
    with pytest.raises(DataError, match="folder"):
        list(read_records(missing, on_bad=lambda error: None))


def test_address_is_not_fetched() -> None:
    with pytest.raises(DataError) as raised:
        list(read_records("https://localhost:1/data.parquet"))
    assert "Download" in (raised.value.hint or "")


def test_name_that_no_file_can_have() -> None:
    with pytest.raises(DataError):
        list(read_records("a\0b.jsonl"))
    with pytest.raises(DataError):
        list(read_records("x" * 5000 + ".jsonl"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(JSONL)
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        list(read_records(str(path)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", b""),
        ("d.jsonl", b"\n \n"),
        ("d.jsonl", b"\xef\xbb\xbf"),
        ("d.csv", b""),
        ("d.csv", b"a,b\n"),
        ("d.csv", b"\n\na,b\n\n"),
        ("d.jsonl.gz", gzip.compress(b"")),
        ("d.jsonl.gz", b""),
        ("d.csv.zst", zst(b"")),
    ],
)
def test_no_record_at_all(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="holds no record"):
        list(read_records(str(tmp_path / name), on_bad=lambda error: None))


def test_no_good_record(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b"x\ny\n")
    bad: list[DataError] = []
    with pytest.raises(DataError, match=r"no record can be used \(2 bad\)"):
        list(read_records(str(tmp_path / "d.jsonl"), on_bad=bad.append))
    assert len(bad) == 2


MANY = b"".join(b'{"a": "%d"}\n' % (i * i) for i in range(50_000))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl.gz", gzip.compress(MANY)[:-2000]),
        ("d.jsonl.gz", gzip.compress(MANY)[:-1]),
        ("d.jsonl.gz", gzip.compress(MANY)[:-8] + b"\0" * 8),
        ("d.jsonl.gz", gzip.compress(MANY) + b"more"),
        ("d.jsonl.gz", MANY),
        ("d.jsonl.zst", zst(MANY)[:-2000]),
        ("d.jsonl.zst", zst(MANY)[:-1]),
        ("d.jsonl.zst", zst(MANY) + b"more"),
        ("d.jsonl.zst", MANY),
        ("d.jsonl.zst", gzip.compress(MANY)),
    ],
)
def test_damaged_packing_always_raises(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="can't be read") as raised:
        list(read_records(str(tmp_path / name), on_bad=lambda error: None))
    assert raised.value.line_no is None


def test_file_is_closed_when_reading_stops_early(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(JSONL)
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    records = read_records(str(tmp_path / "d.jsonl"))
    next(records)
    records.close()  # type: ignore[attr-defined]
    list(read_records(str(tmp_path / "d.jsonl"), limit=1))
    after = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    assert len(after) == len(before)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = JSONL + b'{"custom_id": "x"}\n{"custom_id": "x"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
    with pytest.raises(DataError) as raised:
        list(read_records("-"))
    assert str(raised.value).startswith("standard input, line 4: ")
    assert "line 3" in raised.value.reason
    assert raised.value.__context__ is None, "a traceback would show the mistake twice"
    assert not sys.stdin.buffer.closed


def test_standard_input_that_never_ends_is_read_as_far_as_needed() -> None:
    program = (
        "from cascade_batch.datasets import read_records\n"
        "print(len(list(read_records('-', limit=3))))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"a": 1}\n' * 3)
        process.stdin.flush()  # and left open
        assert process.stdout.read() == b"3\n"


def test_a_program_may_end_while_a_thread_of_it_waits_for_standard_input() -> None:
    program = (
        "import threading\n"
        "from cascade_batch.datasets import read_records\n"
        "has_read = threading.Event()\n"
        "def read():\n"
        "    for _ in read_records('-'): has_read.set()\n"
        "threading.Thread(target=read, daemon=True).start()\n"
        "has_read.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b'{"a": 1}\n')
        process.stdin.flush()  # and left open
        assert (process.wait(), process.stderr.read()) == (0, b"")


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        list(read_records("-"))
