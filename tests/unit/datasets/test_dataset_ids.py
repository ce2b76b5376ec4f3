import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.datasets import read_records
from cascade_batch.errors import DataError


def written(tmp_path: Path, *records: dict[str, object]) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"custom_id": "a", "id": "b"}, "a"),
        ({"id": "b"}, "b"),
        ({"custom_id": None, "id": "b"}, "b"),
        ({"custom_id": 12}, "12"),
        ({"id": -3}, "-3"),
        ({"id": 1.5}, "1.5"),
        ({"id": 7.0}, "7"),
        ({"id": "007"}, "007"),
        ({"id": None}, None),
        ({}, None),
    ],
)
def test_ids_are_texts(tmp_path: Path, record: dict[str, object], expected: str | None) -> None:
    (read,) = read_records(written(tmp_path, record))
    assert read.custom_id == expected
    assert read.fields == record


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"custom_id": ""}, "custom_id is empty"),
        ({"custom_id": "", "id": "a"}, "custom_id is empty"),
        ({"id": ""}, "id is empty"),
        ({"id": True}, "id is neither text nor a number"),
        ({"id": ["a"]}, "id is neither text nor a number"),
        ({"id": {"$oid": "a"}}, "id is neither text nor a number"),
        ({"id": "x" * 501}, "id is longer than 500 characters"),
        ({"id": 10**30}, "id is a number too large to be exact"),
    ],
)
def test_what_is_no_id(tmp_path: Path, record: dict[str, object], reason: str) -> None:
    bad: list[DataError] = []
    source = written(tmp_path, record, {"a": 1})
    assert len(list(read_records(source, on_bad=bad.append))) == 1
    assert [(error.line_no, error.reason) for error in bad] == [(1, reason)]


def test_duplicates_name_both_lines(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"id": f"r{i}"} for i in range(5000)]
    source = written(tmp_path, *records, {"id": "r41"}, {"custom_id": "r0"}, {"id": "new"})
    with pytest.raises(DataError) as raised:
        list(read_records(source))
    assert str(raised.value) == f"{source}:5001: the id 'r41' is that of line 42 already"
    bad: list[DataError] = []
    assert len(list(read_records(source, on_bad=bad.append))) == 5001
    assert [error.line_no for error in bad] == [5001, 5002]
    assert "line 1 " in bad[1].reason


def test_among_many_ids_each_duplicate_names_the_line_of_the_first(tmp_path: Path) -> None:
    # So many that every table of ids grows, and some ids go round its end.
    path = tmp_path / "data.jsonl"
    again = {150_000: 1, 150_001: 77_777, 150_002: 149_999}
    lines = [f'{{"id": "row {line}"}}\n' for line in range(1, 150_000)]
    lines += [f'{{"id": "row {first}"}}\n' for first in again.values()]
    path.write_text("".join(lines))
    bad: list[DataError] = []
    assert sum(1 for _ in read_records(str(path), on_bad=bad.append)) == 149_999
    assert [error.line_no for error in bad] == list(again)
    for error, first in zip(bad, again.values(), strict=True):
        assert f"that of line {first} already" in error.message


def test_number_and_text_are_the_same_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'7' is that of line 1 already"):
        list(read_records(written(tmp_path, {"id": 7}, {"id": "7"})))


def test_id_that_an_earlier_row_has_as_its_number(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    # Row 1 stands in line 4: an empty line and a bad one come before it.
    path.write_text('{"a": 0}\n\nbad\n{"a": 1}\n{"id": "01"}\n{"id": "1"}\n{"id": "6"}\n')
    bad: list[DataError] = []
    records = list(read_records(str(path), on_bad=bad.append))
    assert [r.custom_id for r in records] == [None, None, "01", "6"]
    assert [error.line_no for error in bad] == [3, 6]
    assert "'1' is that of line 4 already" in bad[1].reason


def test_row_number_that_an_earlier_row_has_as_its_id(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        list(read_records(written(tmp_path, {"id": "x"}, {"id": 2}, {"a": 1})))
    assert raised.value.line_no == 3
    assert "its row number '2' is the id of line 2" in raised.value.reason
    assert "every record an id, or none" in (raised.value.hint or "")


def test_left_out_records_free_their_id_and_their_number(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": "1", "a": NaN}\n{"a": 0}\n{"a": 1}\n')
    records = list(read_records(str(path), on_bad=lambda error: None))
    assert [r.line_no for r in records] == [2, 3]


@given(
    st.lists(
        st.one_of(st.none(), st.integers(0, 12), st.sampled_from(["a", "b", "01"])), min_size=1
    )
)
def test_kept_rows_differ_and_left_out_ones_do_not(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int | str | None]
) -> None:
    records: list[dict[str, object]] = [{} if i is None else {"id": i} for i in ids]
    source = written(tmp_path_factory.mktemp("ids"), *records)
    bad: list[DataError] = []
    kept = list(read_records(source, on_bad=bad.append))
    names = [str(n) if r.custom_id is None else r.custom_id for n, r in enumerate(kept)]
    assert len(set(names)) == len(names)
    line_of = dict(zip(names, (r.line_no for r in kept), strict=True))
    for error in bad:
        name = error.reason.split("'")[1]
        assert error.reason.split("line ")[1].split(" ")[0] == str(line_of[name])
    assert len(kept) + len(bad) == len(ids)
