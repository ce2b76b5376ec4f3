"""A sample of a large file is from all over it, and tells about how many records there are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cascade_batch.datasets.sampling import FileSample, sample_file
from cascade_batch.errors import DataError, UsageError

ROWS = 20_000


def lines(path: Path, rows: int = ROWS) -> str:
    with path.open("w") as file:
        for no in range(rows):
            # Records of very different lengths, the long ones in one part of the file.
            file.write(
                json.dumps({"no": no, "text": "x" * (400 if no < rows // 4 else no % 90)}) + "\n"
            )
    return str(path)


def sampled(source: str, rows: int = 1_000, seed: int = 0) -> tuple[FileSample, list[int]]:
    sample = sample_file(source, rows=rows, seed=seed, large_bytes=1, large_rows=1)
    assert sample is not None
    return sample, [record.fields["no"] for record in sample.read()]


def test_json_lines_are_sampled_from_all_over_the_file_and_counted_by_their_bytes(tmp_path):
    sample, found = sampled(lines(tmp_path / "d.jsonl"))

    assert 600 <= len(found) <= 1_500
    assert found == sorted(set(found))
    assert found[0] < ROWS * 0.02
    assert found[-1] > ROWS * 0.98
    assert sample.total_rows == pytest.approx(ROWS, rel=0.1)
    # The long ones are as rare in the sample as they are in the file.
    assert sum(no < ROWS // 4 for no in found) / len(found) == pytest.approx(0.25, abs=0.05)
    assert not sample.is_exact
    assert sampled(str(tmp_path / "d.jsonl"))[1] == found
    assert sampled(str(tmp_path / "d.jsonl"), seed=1)[1] != found


def test_lines_of_one_length_are_counted_well(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("".join(f'{{"no": {no:06}}}\n'.replace(": 0", ": 1") for no in range(ROWS)))

    assert sampled(str(path))[0].total_rows == pytest.approx(ROWS, rel=0.01)


def test_parquet_is_counted_by_its_metadata(tmp_path):
    path = tmp_path / "d.parquet"
    parquet.write_table(pa.table({"no": range(ROWS)}), path, row_group_size=1_500)

    sample, found = sampled(str(path))

    assert (sample.total_rows, sample.is_exact) == (ROWS, True)
    assert 500 <= len(found) <= 1_010
    assert found == sorted(set(found))
    assert len({no // 1_500 for no in found}) >= 7


def test_small_files_and_what_nobody_can_jump_about_in_are_read_as_a_whole(tmp_path):
    small = lines(tmp_path / "d.jsonl", 100)
    for name in ("d.csv", "d.jsonl.gz"):
        (tmp_path / name).write_bytes(b"x" * 100)

    assert sample_file(small, rows=10, seed=0) is None
    assert sample_file("-", rows=10, seed=0, large_bytes=1) is None
    for name in ("d.csv", "d.jsonl.gz"):
        assert sample_file(str(tmp_path / name), rows=10, seed=0, large_bytes=1) is None


def test_what_can_t_be_used_is_named_by_its_place_or_left_out(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"no": 1}\nno json\n{"no": 2}\n' * 50)
    sample = sample_file(str(path), rows=1_000, seed=0, large_bytes=1)
    bad: list[DataError] = []

    with pytest.raises(DataError, match=r"d.jsonl, byte [\d,]+: broken JSON") as raised:
        list(sample.read())
    records = list(sample.read(on_bad=bad.append))

    assert "skip-bad" in raised.value.hint
    assert {record.fields["no"] for record in records} <= {1, 2}
    assert bad


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(DataError, match="no such file"):
        sample_file("none.jsonl", rows=1, seed=0)
    with pytest.raises(UsageError, match="format"):
        sample_file("none.xls", rows=1, seed=0)
