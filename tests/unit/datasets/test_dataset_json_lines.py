import os
from pathlib import Path

import pytest

from cascade_batch.datasets import MAX_DEPTH, MAX_ROW_BYTES, read_records
from cascade_batch.domain.row import Record
from cascade_batch.errors import DataError, UsageError


def written(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    return str(path)


def read_all(source: str) -> tuple[list[dict[str, object]], list[DataError]]:
    bad: list[DataError] = []
    return [record.fields for record in read_records(source, on_bad=bad.append)], bad


def refused(tmp_path: Path, line: bytes) -> DataError:
    """The error of a line that stands between two good ones, which both have to come through."""
    source = written(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(DataError) as raised:
        list(read_records(source))
    fields, bad = read_all(source)
    assert fields == [{"a": 1}, {"a": 3}]
    assert [str(error) for error in bad] == [str(raised.value)]
    assert raised.value.line_no == 2
    assert str(raised.value).startswith(f"{source}:2: ")
    assert "--skip-bad" in (raised.value.hint or "")
    return raised.value


def test_records_keep_fields_ids_and_lines(tmp_path: Path) -> None:
    source = written(tmp_path, b'{"custom_id": "x", "n": [1, {"b": null}]}\n{"t": "\xc3\xa9"}\n')
    first, second = read_records(source)
    assert (first.custom_id, first.line_no) == ("x", 1)
    assert first.fields == {"custom_id": "x", "n": [1, {"b": None}]}
    assert (second.custom_id, second.line_no, second.fields) == (None, 2, {"t": "é"})


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"a": 2}',
        b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}\r\n{"a": 2}\r\n',
        b' {"a": 1} \n\t{"a": 2}\n',
    ],
    ids=["no last line end", "byte order mark", "carriage returns", "spaces"],
)
def test_ways_to_write_lines(tmp_path: Path, content: bytes) -> None:
    assert [r.fields for r in read_records(written(tmp_path, content))] == [{"a": 1}, {"a": 2}]


def test_empty_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    source = written(tmp_path, b'\xef\xbb\xbf\n\n{"a": 1}\n  \r\n\n{"a": 2}\n\n')
    assert [r.line_no for r in read_records(source)] == [3, 6]


@pytest.mark.parametrize(
    ("line", "reason", "hint"),
    [
        (b'{"a": 1,, "b": 2}', "broken JSON at character 9", "one whole JSON object"),
        (b'{"a": 1} {"a": 2}', "broken JSON at character 10", "one whole JSON object"),
        ('{"é": ?}'.encode(), "broken JSON at character 7", "one whole JSON object"),
        (b'{"a": NaN}', "NaN and Infinity are not JSON", "null"),
        (b'{"a": -Infinity}', "NaN and Infinity are not JSON", "null"),
        (b'{"a": 1e999}', "broken JSON", ""),
        (b"[", "broken JSON", "jq -c"),
        (b"[1, 2]", "an array, not an object", "jq -c"),
        (b'"text"', "a text, not an object", "JSON object"),
        (b"12", "a number, not an object", "JSON object"),
        (b"null", "null, not an object", "JSON object"),
        (b"true", "true or false, not an object", "JSON object"),
        (b"hello", "broken JSON at character 1", "JSON object"),
        (b'{"a": "\xe9"}', "byte 0xe9 at byte offset 7 of the line", "iconv"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8: byte 0xed at byte offset 7", "iconv"),
        (b'{"a": "\\ud800"}', "broken JSON", ""),
        (b'{"a": "x\\u0000y"}', "NUL character", "Remove"),
        (b'{"a": {"b": ["x", "\\u0000"]}}', "NUL character", "Remove"),
        (b'{"\\u0000": 1}', "NUL character", "Remove"),
        (b'{"a": "\x00"}', "NUL character", "Remove"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "nested more than 100 levels", ""),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "", ""),
        (b"[" * 1_000_000, "", ""),
    ],
)
def test_bad_lines(tmp_path: Path, line: bytes, reason: str, hint: str) -> None:
    error = refused(tmp_path, line)
    assert reason in error.reason
    assert hint in (error.hint or "")


def test_nothing_good_is_refused(tmp_path: Path) -> None:
    deepest = b'{"a":' * (MAX_DEPTH - 1) + b'{"b":"[[{{"}' + b"}" * (MAX_DEPTH - 1)
    lines = [
        rb'{"a": "\\u0000 is how NUL is escaped"}',
        b'{"a": "' + b"{[" * 500 + b'", "b": [1]}',
        b'{"a": [' + b"[]," * 500 + b"[]]}",
        deepest,
        rb'{"a": "\ud83d\ude00"}',
        b"{}",
    ]
    fields, bad = read_all(written(tmp_path, b"\n".join(lines)))
    assert not bad
    assert len(fields) == len(lines)
    assert fields[4] == {"a": "😀"}


def test_utf16_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, '{"a": 1}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        list(read_records(source))


def test_file_that_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        list(read_records(written(tmp_path, b'{"a": 1}\n{"a": "abc')))
    assert raised.value.line_no == 2
    assert "cut off" in (raised.value.hint or "")


def test_row_at_and_above_the_longest(tmp_path: Path) -> None:
    frame = len(b'{"a": ""}\n')
    longest = b'{"a": "' + b"x" * (MAX_ROW_BYTES - frame) + b'"}\n'
    source = written(tmp_path, longest + b" " + longest + b'{"a": 3}\n' + longest[:-1])
    bad: list[DataError] = []
    assert [r.line_no for r in read_records(source, on_bad=bad.append)] == [1, 3, 4]
    assert [(error.line_no, error.reason) for error in bad] == [
        (2, "the record is longer than 16 MiB")
    ]


def test_endless_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        os.truncate(path, 200 * 2**20)  # a hole reads as zeros, without a line end
    bad: list[DataError] = []
    assert [r.line_no for r in read_records(str(path), on_bad=bad.append)] == [1]
    assert [error.line_no for error in bad] == [2]


def test_limit_counts_good_records_and_reads_no_further(tmp_path: Path) -> None:
    source = written(tmp_path, b'{"a": 1}\nbroken\n{"a": 2}\nbroken too\n')
    bad: list[DataError] = []
    assert len(list(read_records(source, limit=2, on_bad=bad.append))) == 2
    assert [error.line_no for error in bad] == [2]


def test_records_that_the_job_refuses_count_as_bad(tmp_path: Path) -> None:
    def check(record: Record) -> None:
        if "a" not in record.fields:
            raise UsageError("no a", hint="Add an a.")

    source = written(tmp_path, b'{"id": "x"}\n{"a": 1}\n{"id": "x", "a": 2}\n{"a": 3}\n')
    with pytest.raises(DataError) as raised:
        list(read_records(source, check=check))
    assert str(raised.value) == f"{source}:1: no a"
    assert raised.value.hint == "Add an a. Or leave bad records out with --skip-bad."
    bad: list[DataError] = []
    records = list(read_records(source, limit=3, on_bad=bad.append, check=check))
    assert [(r.custom_id, r.line_no) for r in records] == [(None, 2), ("x", 3), (None, 4)]
    assert len(bad) == 1


def test_errors_of_the_callers_own_pass_through(tmp_path: Path) -> None:
    def stop(error: DataError) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(read_records(written(tmp_path, b"broken\n"), on_bad=stop))
