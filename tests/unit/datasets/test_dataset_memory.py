"""A large file is read in the memory of a small one."""

import gzip
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FILE_BYTES = 150 * 2**20
ROW_TEXT = "words and more words " * 50

PROGRAM = """
import resource, sys
from cascade_batch.datasets import read_records
rows = sum(1 for _ in read_records(sys.argv[1], on_bad=lambda error: None))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(rows, peak // 1024 if sys.platform != "darwin" else peak // 2**20)
"""


def rows_and_peak_mib(path: Path) -> tuple[int, int]:
    # The shell stands between, as a process begins with the peak of the one that it is made from.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, peak = done.stdout.split()
    return int(rows), int(peak)


def write_lines(path: Path, template: str, header: str = "") -> int:
    block_rows = 2000
    row_bytes = len(template % 0)
    open_packed = partial(gzip.open, compresslevel=1) if path.suffix == ".gz" else open
    rows = 0
    with open_packed(path, "wb") as file:
        file.write(header.encode())
        while rows * row_bytes < FILE_BYTES:
            file.write("".join(template % (rows + i) for i in range(block_rows)).encode())
            rows += block_rows
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_json_lines_with_ids(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"big.jsonl{packing}"
    rows = write_lines(path, '{"id": "row-%d", "text": "' + ROW_TEXT + '"}\n')
    read, peak_mib = rows_and_peak_mib(path)
    assert read == rows
    assert peak_mib < 70


@pytest.mark.slow
def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    rows = write_lines(path, '%d,"' + ROW_TEXT + '"\n', header="n,text\n")
    read, peak_mib = rows_and_peak_mib(path)
    assert read == rows
    assert peak_mib < 70


@pytest.mark.slow
def test_parquet_of_one_row_group(tmp_path: Path) -> None:
    path = tmp_path / "big.parquet"
    rows = FILE_BYTES // len(ROW_TEXT)
    table = pa.table({"n": range(rows), "text": [f"{i} {ROW_TEXT}" for i in range(rows)]})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    read, peak_mib = rows_and_peak_mib(path)
    assert read == rows
    assert peak_mib < 180


@pytest.mark.slow
def test_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "endless.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        file.truncate(3 * FILE_BYTES)  # a hole, without a line end
    read, peak_mib = rows_and_peak_mib(path)
    assert read == 1
    assert peak_mib < 100
