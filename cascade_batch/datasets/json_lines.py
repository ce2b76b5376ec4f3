"""JSON Lines: an object per line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from cascade_batch.datasets.records import (
    MAX_ROW_BYTES,
    BadRecordError,
    Report,
    object_of,
    too_long,
)

_UTF8_MARK = b"\xef\xbb\xbf"


def json_rows(
    stream: BinaryIO, source: str, report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and fields of every usable line."""
    line_no = 0
    for line in iter(partial(stream.readline, MAX_ROW_BYTES + 1), b""):
        line_no += 1
        try:
            if len(line) > MAX_ROW_BYTES:
                skip_to_line_end(stream, line)
                raise too_long()
            fields = object_of(line)
        except BadRecordError as bad:
            # Byte order marks and empty lines end up here, to cost the other lines nothing.
            content = line.removeprefix(_UTF8_MARK) if line_no == 1 else line
            if not content.strip():
                continue
            if content is line:
                report(bad.at(source, line_no))
                continue
            try:
                fields = object_of(content)
            except BadRecordError as worse:
                report(worse.at(source, line_no))
                continue
        yield line_no, fields


def skip_to_line_end(stream: BinaryIO, line: bytes) -> None:
    """Drop the rest of a line of which `line` was read, a piece at a time."""
    while line and not line.endswith(b"\n"):
        line = stream.readline(2**20)
