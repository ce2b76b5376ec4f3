"""A look into a large file: some of its records from all over it, and about how many there are.

Only where a place can be jumped to: JSON Lines that are not packed, and Parquet. In CSV nobody can tell
inside of a quoted text where a row begins, and packed files and standard input are read from their beginning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from cascade_batch.datasets.parquet_rows import check_schema, json_object, rows_of
from cascade_batch.datasets.reading import Origin, check_source, format_of, records_of
from cascade_batch.datasets.records import (
    MAX_ROW_BYTES,
    BadRecordError,
    Report,
    object_of,
)
from cascade_batch.datasets.sources import unreadable
from cascade_batch.domain.row import Record
from cascade_batch.errors import DataError

LARGE_BYTES = 16 * 2**20
LARGE_ROWS = 50_000
"""A file that has less is read as a whole."""
_PLACES = 100
_ROW_GROUPS = 10
_MOST_SKIPPED = 50_000
"""So far into a row group of a Parquet file its records are decoded to get at a later one."""

Rows = Generator[tuple[int, dict[str, Any]], None, None]


class FileSample:
    """Records of a large file, in the file's order.

    Attributes:
        total_rows: About how many records the file has (of Parquet: exactly); known once it was read.
        is_exact: Whether that number is exact.
    """

    def __init__(
        self, source: str, sample: Callable[[FileSample, Report], Rows], unit: str
    ) -> None:
        self.total_rows = 0
        self.is_exact = False
        self._origin = Origin(
            name=source,
            rows=lambda report: sample(self, report),
            called=lambda place: f"the record at {unit} {place:,}",
            where=lambda place: f"{source}, {unit} {place:,}",
        )

    def read(
        self,
        *,
        check: Callable[[Record], None] | None = None,
        on_bad: Callable[[DataError], None] | None = None,
    ) -> Iterator[Record]:
        """Stream the records; as `read_records`, but for places, which are bytes of JSON Lines.

        Raises:
            DataError: A record can't be used and there is no `on_bad`, or the whole file can't be used.
        """
        return records_of(self._origin, check=check, on_bad=on_bad)


def sample_file(
    source: str,
    *,
    rows: int,
    seed: int,
    large_bytes: int = LARGE_BYTES,
    large_rows: int = LARGE_ROWS,
) -> FileSample | None:
    """A sample of a large file; None where it is better read as a whole, or can't be read otherwise.

    Args:
        source: Path of a file, or `-`.
        rows: About how many records to read.
        seed: Draws the places.
        large_bytes: Size from which JSON Lines are sampled.
        large_rows: Number of records from which Parquet is.

    Raises:
        UsageError: The ending is unknown.
        DataError: The file is missing, or can't be read.
    """
    check_source(source)
    kind, packing = format_of(source)
    rng = random.Random(seed)  # noqa: S311 - no secret
    if kind == ".parquet":
        if _parquet_rows(source) < large_rows:
            return None
        return FileSample(
            source, lambda found, report: _of_parquet(source, rows, rng, found, report), "record"
        )
    if kind != ".jsonl" or packing or source == "-" or _size(source) < large_bytes:
        return None
    return FileSample(
        source, lambda found, report: _of_lines(source, rows, rng, found, report), "byte"
    )


def _size(source: str) -> int:
    try:
        path = Path(source)
        # What is no plain file (a pipe, say) has neither a size nor places.
        return path.stat().st_size if path.is_file() else 0
    except OSError as error:
        raise unreadable(source, error) from None


def _of_lines(
    source: str, rows: int, rng: random.Random, found: FileSample, report: Report
) -> Rows:
    """As many bytes from each part of the file: one with shorter records gives as many more of them."""
    size = _size(source)
    lines = line_bytes = 0
    try:
        with Path(source).open("rb") as stream:
            each = max(rows * _usual_length(stream, size) // _PLACES, 1)
            for place in range(_PLACES):
                begin, end = size * place // _PLACES, size * (place + 1) // _PLACES
                start = rng.randint(begin, max(begin, end - each))
                for at, line in _lines(stream, start, min(start + each, end)):
                    line_bytes += len(line)
                    if not line.strip():
                        continue
                    lines += 1
                    found.total_rows = max(round(size * lines / line_bytes), lines)
                    try:
                        fields = object_of(line)
                    except BadRecordError as bad:
                        report(bad.at(source, at, f"{source}, byte {at:,}"))
                        continue
                    yield at, fields
    except OSError as error:
        raise unreadable(source, error) from None


def _usual_length(stream: BinaryIO, size: int) -> int:
    """Bytes of a line, by some from all over the file."""
    lengths = []
    for place in range(_PLACES):
        start = size * place // _PLACES
        lengths += [len(line) for _, line in islice(_lines(stream, start, size), 2)]
    # Harmonic, as places fall into long lines more often.
    return round(len(lengths) / sum(1 / n for n in lengths)) if lengths else 1


def _lines(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines that begin between two places, each with its own place."""
    stream.seek(start)
    at = start
    if start:
        at += len(stream.readline(MAX_ROW_BYTES))
    while at < end:
        line = stream.readline(MAX_ROW_BYTES)
        if not line:
            return
        yield at, line
        at += len(line)


def _parquet_rows(source: str) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with pa.OSFile(source, "rb") as raw:
            return int(parquet.read_metadata(raw).num_rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(source, error) from None


def _of_parquet(
    source: str, rows: int, rng: random.Random, found: FileSample, report: Report
) -> Rows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with (
            pa.OSFile(source, "rb") as raw,
            parquet.ParquetFile(raw, pre_buffer=False, buffer_size=2**20) as file,
        ):
            check_schema(file.schema_arrow, source)
            meta = file.metadata
            found.total_rows, found.is_exact = meta.num_rows, True
            firsts = [0]
            for group in range(meta.num_row_groups):
                firsts.append(firsts[-1] + meta.row_group(group).num_rows)
            filled = [g for g in range(meta.num_row_groups) if firsts[g + 1] > firsts[g]]
            groups = filled[:: -(-len(filled) // _ROW_GROUPS)]
            each = max(-(-rows // len(groups)), 1)
            for group in groups:
                room = min(firsts[group + 1] - firsts[group], _MOST_SKIPPED)
                skip = rng.randrange(max(room // each, 1))
                batches = file.iter_batches(each, row_groups=[group], use_threads=False)
                for number, batch in enumerate(batches):
                    if number == skip:
                        yield from _of_batch(batch, firsts[group] + number * each, source, report)
                        break
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(source, error) from None


def _of_batch(batch: Any, first: int, source: str, report: Report) -> Rows:
    for record_no, values in enumerate(rows_of(batch), first + 1):
        try:
            fields = json_object(values)
        except BadRecordError as bad:
            report(bad.at(source, record_no))
        else:
            yield record_no, fields
