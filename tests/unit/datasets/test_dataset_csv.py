from pathlib import Path

import pytest

from cascade_batch.datasets import MAX_ROW_BYTES, read_records
from cascade_batch.domain.row import Record
from cascade_batch.errors import DataError


def read_all(tmp_path: Path, content: bytes) -> tuple[list[Record], list[DataError]]:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    bad: list[DataError] = []
    return list(read_records(str(path), on_bad=bad.append)), bad


def values(records: list[Record]) -> list[tuple[object, ...]]:
    return [tuple(record.fields.values()) for record in records]


def test_cells_are_texts_under_the_headers_names(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid, text ,n\r\n7,"a, ""b""\nc",\r\n\r\n8,\xc3\xa9,0\r\n'
    records, bad = read_all(tmp_path, content)
    assert not bad
    assert records == [
        Record("7", 2, {"id": "7", "text": 'a, "b"\nc', "n": ""}),
        Record("8", 5, {"id": "8", "text": "é", "n": "0"}),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "the row has 1 cells and the header 2"),
        (b"1,2,3", "the row has 3 cells and the header 2"),
        (b"1,\xe9", "byte 0xe9 at byte offset 2"),
        (b"1,a\0b", "NUL character"),
        (b'1,"a"b', "closing quote"),
        (b"1,a\rb", "carriage return"),
    ],
)
def test_bad_rows_cost_themselves_alone(tmp_path: Path, row: bytes, reason: str) -> None:
    records, bad = read_all(tmp_path, b"a,b\n0,0\n" + row + b'\n1,"x\ny"\n2,2\n')
    assert values(records) == [("0", "0"), ("1", "x\ny"), ("2", "2")]
    assert [error.line_no for error in bad] == [3]
    assert reason in bad[0].reason
    assert "--skip-bad" in (bad[0].hint or "")
    with pytest.raises(DataError, match=r"data\.csv:3: "):
        list(read_records(str(tmp_path / "data.csv")))


def test_fault_inside_a_row_of_several_lines(tmp_path: Path) -> None:
    records, bad = read_all(tmp_path, b'a,b\n1,"x\n\xe9\ny"\n2,2\n')
    assert values(records) == [("2", "2")]
    assert [error.line_no for error in bad] == [2]


def test_rows_of_several_lines_are_left_out_whole(tmp_path: Path) -> None:
    content = b'a,b\n1,"x\n5,5\ny",3\n2,"oops\n3,3\n4,"z"\n6,6\n'
    records, bad = read_all(tmp_path, content)
    assert values(records) == [("6", "6")]
    assert [error.line_no for error in bad] == [2, 5]
    assert "line 2 to 4" in bad[0].reason
    assert "line 5 to 7" in bad[1].reason


def test_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    rows = b"".join(b"%d,x\n" % i for i in range(1000))
    records, bad = read_all(tmp_path, b'a,b\n0,"oops\n' + rows)
    assert values(records) == [(str(i), "x") for i in range(1000)]
    assert [record.line_no for record in records] == list(range(3, 1003))
    assert [(error.line_no, error.reason) for error in bad] == [
        (2, "a quote is opened and never closed")
    ]


def test_quote_in_the_last_line(tmp_path: Path) -> None:
    records, bad = read_all(tmp_path, b'a,b\n1,1\n2,"')
    assert values(records) == [("1", "1")]
    assert [error.line_no for error in bad] == [3]


def test_stray_quote_in_a_long_file_costs_one_line(tmp_path: Path) -> None:
    line = b"1," + b"x" * 1000 + b"\n"
    lines = MAX_ROW_BYTES // len(line) + 50
    records, bad = read_all(tmp_path, b'a,b\n0,"oops\n' + line * lines + b'2,"y"\n')
    assert [error.line_no for error in bad] == [2]
    assert "16 MiB" in bad[0].reason
    assert len(records) == lines + 1
    assert (records[-1].line_no, records[-1].fields) == (lines + 3, {"a": "2", "b": "y"})


def test_row_that_is_too_long(tmp_path: Path) -> None:
    records, bad = read_all(tmp_path, b"a\n1\n" + b"x" * (MAX_ROW_BYTES + 50) + b"\n2\n")
    assert [(record.line_no, record.fields) for record in records] == [
        (2, {"a": "1"}),
        (4, {"a": "2"}),
    ]
    assert [(error.line_no, error.reason) for error in bad] == [
        (3, "the record is longer than 16 MiB")
    ]


def test_long_cell_is_kept(tmp_path: Path) -> None:
    records, bad = read_all(tmp_path, b'a,b\n1,"' + b"x\n" * 2**20 + b'"\n')
    assert not bad
    assert values(records) == [("1", "x\n" * 2**20)]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"a,,c", "column 2 has no name"),
        (b'a," ",c', "column 2 has no name"),
        (b"a,b,a", "columns 1 and 3 are both called 'a'"),
        (b"a,b, a ", "columns 1 and 3 are both called 'a'"),
        (b"a;b;c", "single column"),
        (b"a\tb", "single column"),
        (b"a,\xe9", "not UTF-8"),
        (b'a,"b', "never closed"),
        (b"a\rb", "carriage return"),
        (b"a,\0", "NUL"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"x" * (MAX_ROW_BYTES + 1), "16 MiB"),
    ],
)
def test_headers_that_name_no_columns_always_raise(
    tmp_path: Path, header: bytes, reason: str
) -> None:
    with pytest.raises(DataError) as raised:
        read_all(tmp_path, b"\n" + header + b"\n1,2,3\n")
    assert reason in raised.value.reason
    assert raised.value.line_no == 2
    assert raised.value.hint
