"""The way in: a source's name to records."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from cascade_batch.datasets.csv_rows import csv_rows
from cascade_batch.datasets.ids import IdsTaken, custom_id_of
from cascade_batch.datasets.json_lines import json_rows
from cascade_batch.datasets.parquet_rows import parquet_rows
from cascade_batch.datasets.records import BadRecordError, Report
from cascade_batch.datasets.sources import check_file, open_bytes
from cascade_batch.domain.row import Record
from cascade_batch.errors import DataError, UsageError, place_in

_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PACKINGS = (".gz", ".zst")


def read_records(
    source: str,
    *,
    limit: int | None = None,
    on_bad: Callable[[DataError], None] | None = None,
    check: Callable[[Record], None] | None = None,
) -> Iterator[Record]:
    """Stream the records of a data set, in the order of the file.

    A record's place in this stream, from 0, is its row number, and as text its id where it brings
    none (`custom_id` None).

    Args:
        source: Path of a file, its format told by the ending (see the package), or `-`.
        limit: Stop after so many records; what comes behind them is not read.
        on_bad: Takes the error of each record that can't be used; the record is left out.
        check: Looks at each record before it gets its number, and raises a `UsageError` where the
            job can't use it (no prompt can be made of it, say): the record then counts as bad, and
            file and line are added to the message. To drop records later would shift row numbers,
            which stand for ids.

    Raises:
        UsageError: The ending is unknown, or the limit is not positive; upon the call.
        DataError: A record can't be used and there is no `on_bad`, or the whole file can't be used
            (missing, a folder, damaged, without any usable record, columns without names); upon
            iteration.
    """
    kind, packing = format_of(source)
    unit = "record" if kind == ".parquet" else "line"
    origin = Origin(
        name=source,
        rows=partial(_rows, source, kind, packing),
        called=lambda line_no: f"{unit} {line_no}",
        where=lambda line_no: place_in(source, line_no),
    )
    return records_of(origin, limit=limit, on_bad=on_bad, check=check)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from.

    Attributes:
        name: What messages call the whole of it.
        rows: Gives number (from 1) and fields of every usable record.
        called: What messages call a record of this number: `line 3`.
        where: What an error about it begins with: `data.jsonl:3`.
    """

    name: str
    rows: Callable[[Report], Generator[tuple[int, dict[str, Any]], None, None]]
    called: Callable[[int], str]
    where: Callable[[int], str]


def records_of(
    origin: Origin,
    *,
    limit: int | None = None,
    on_bad: Callable[[DataError], None] | None = None,
    check: Callable[[Record], None] | None = None,
) -> Iterator[Record]:
    """Stream the records of an origin; for the rest, see `read_records`.

    Raises:
        UsageError: The limit is not positive; upon the call.
        DataError: A record, or all of them, can't be used; upon iteration.
    """
    if limit is not None and limit < 1:
        raise UsageError(
            f"The limit is {limit}, which leaves no row.", hint="Give a limit of 1 or more."
        )
    return _records(origin, limit, on_bad, check)


def check_source(source: str) -> None:
    """Refuse what can be seen to be no data set without reading it.

    Raises:
        UsageError: The ending is unknown.
        DataError: There is no such file, or it is a folder.
    """
    format_of(source)
    if source != "-":
        check_file(source)


def format_of(source: str) -> tuple[str, str]:
    """A source's format (`.jsonl`, `.csv` or `.parquet`) and packing (`.gz`, `.zst` or nothing), by its end.

    Raises:
        UsageError: The ending is unknown.
    """
    if source == "-":
        return ".jsonl", ""
    name = source.lower()
    packing = next((ending for ending in _PACKINGS if name.endswith(ending)), "")
    name = name.removesuffix(packing)
    if name.endswith(_JSON_LINES):
        return ".jsonl", packing
    if name.endswith(".csv"):
        return ".csv", packing
    if name.endswith(".parquet") and not packing:
        return ".parquet", ""
    raise UsageError(
        f"The format of {source!r} is not known by its ending.",
        hint="Known are .jsonl, .ndjson, .json (an object per line) and .csv, all of them also with"
        " .gz or .zst; .parquet; and - for JSON Lines from standard input.",
    )


def _records(
    origin: Origin,
    limit: int | None,
    on_bad: Callable[[DataError], None] | None,
    check: Callable[[Record], None] | None,
) -> Iterator[Record]:
    bad_records = 0

    def report(error: DataError) -> None:
        nonlocal bad_records
        bad_records += 1
        if on_bad is None:
            raise error
        on_bad(error)

    ids = IdsTaken(origin.called)
    row_no = 0
    with closing(origin.rows(report)) as rows:
        for line_no, fields in rows:
            unusable = None
            try:
                record = Record(custom_id_of(fields), line_no, fields)
                if check is not None:
                    check(record)
                ids.take(record.custom_id, row_no, line_no)
            except UsageError as refused:
                bad = BadRecordError(refused.message, refused.hint)
                unusable = bad.at(origin.name, line_no, origin.where(line_no))
            except BadRecordError as bad:
                unusable = bad.at(origin.name, line_no, origin.where(line_no))
            if unusable is not None:
                # Out here, so that a traceback does not show the same twice.
                report(unusable)
                continue
            yield record
            row_no += 1
            if row_no == limit:
                return
    if not row_no:
        found = (
            f"no record can be used ({bad_records} bad)" if bad_records else "it holds no record"
        )
        raise DataError(found, source=origin.name, hint="A job needs at least one row.")


def _rows(
    source: str, kind: str, packing: str, report: Report
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    if kind == ".parquet":
        yield from parquet_rows(source, report)
        return
    with open_bytes(source, packing) as stream:
        yield from (csv_rows if kind == ".csv" else json_rows)(stream, source, report)
