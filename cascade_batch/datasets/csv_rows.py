"""CSV: a header, then a row of cells per record; quoted cells may hold line ends.

The row in hand is kept as bytes as well, up to `MAX_ROW_BYTES`: a quote that is never closed swallows
all lines up to there or to the end of the file, and only the line that opens it is to blame. Reading
goes on behind that line.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from cascade_batch.datasets.json_lines import skip_to_line_end
from cascade_batch.datasets.records import (
    MAX_ROW_BYTES,
    BadRecordError,
    Report,
    not_utf8,
    nul_found,
    shown,
    too_long,
)
from cascade_batch.errors import DataError


def csv_rows(stream: BinaryIO, source: str, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """First line number (from 1) and fields of every usable row.

    Raises:
        DataError: The header is missing, or can't name columns.
    """
    # The limit is the process's. Raising it is safe: rows are bounded before they get to the parser.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    lines = _Lines(stream)
    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    bad: BadRecordError | None
    while True:
        lines.begin_row()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except (csv.Error, BadRecordError) as error:
            cells = []
            bad = _explained(error, lines)
        else:
            bad = lines.fault or _wrong_width(cells, header, lines)
        if bad is not None:
            if header is None:
                raise DataError(
                    f"the header can't be used: {bad.reason}",
                    source=source,
                    line_no=lines.first_line_no,
                    hint=bad.hint,
                )
            report(bad.at(source, lines.first_line_no))
        elif not cells:
            continue
        elif header is None:
            header = _column_names(cells, source, lines.first_line_no)
        else:
            yield lines.first_line_no, dict(zip(header, cells, strict=True))


class _Lines:
    """The decoded lines that the CSV parser takes, row by row.

    Attributes:
        first_line_no: Where the row in hand begins, from 1.
        fault: What is wrong with the row's text; kept until the row is whole, so that the parser
            is at a row's begin again when it is reported.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._again = io.BytesIO()
        self._line_no = 0
        self._row = bytearray()
        self.first_line_no = 1
        self.fault: BadRecordError | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.readline() or self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self._line_no += 1
        if len(line) > MAX_ROW_BYTES:
            skip_to_line_end(self._stream, line)
            self._row.clear()
            raise too_long()
        self._row += line
        if len(self._row) > MAX_ROW_BYTES:
            raise too_long()
        if self._line_no == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            self.fault = self.fault or not_utf8(line, error)
            return line.decode(errors="replace")
        if "\0" in text:
            self.fault = self.fault or nul_found()
        return text

    def begin_row(self) -> None:
        """The row in hand is done with."""
        self._row.clear()
        self.first_line_no = self._line_no + 1
        self.fault = None

    @property
    def extent(self) -> str:
        """For messages: how far the row in hand goes, if over more than one line."""
        if self._line_no == self.first_line_no:
            return ""
        return f" (the row runs from line {self.first_line_no} to {self._line_no})"

    def go_back(self) -> None:
        """Take the lines of the row in hand once more, all but its first."""
        rest = bytes(self._row[self._row.find(b"\n") + 1 :]) if b"\n" in self._row else b""
        if rest:
            self._again = io.BytesIO(rest + self._again.read())
            self._line_no = self.first_line_no


def _explained(error: Exception, lines: _Lines) -> BadRecordError:
    if isinstance(error, BadRecordError):
        lines.go_back()
        return error
    if "unexpected end of data" in str(error):
        lines.go_back()
        return BadRecordError(
            "a quote is opened and never closed", 'Write a quote inside a cell as "".'
        )
    if "new-line character" in str(error):
        return BadRecordError(
            f"a carriage return stands in a cell without quotes{lines.extent}",
            "Quote the cell, or convert the line ends.",
        )
    return BadRecordError(
        f"a closing quote is followed by something else than a comma{lines.extent}",
        'Write a quote inside a cell as "".',
    )


def _wrong_width(
    cells: list[str], header: list[str] | None, lines: _Lines
) -> BadRecordError | None:
    if header is None or not cells or len(cells) == len(header):
        return None
    return BadRecordError(
        f"the row has {len(cells)} cells and the header {len(header)}{lines.extent}",
        "Quote cells that hold commas or line ends.",
    )


def _column_names(cells: list[str], source: str, line_no: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "" in names:
        raise DataError(
            f"column {names.index('') + 1} has no name",
            source=source,
            line_no=line_no,
            hint="The first row has to name every column.",
        )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        places = [str(place) for place, other in enumerate(names, 1) if other == name]
        raise DataError(
            f"columns {' and '.join(places[:2])} are both called {shown(name)}",
            source=source,
            line_no=line_no,
            hint="Give every column a name of its own.",
        )
    if len(names) == 1 and (";" in name or "\t" in name):
        raise DataError(
            f"the header has a single column, {shown(name)}",
            source=source,
            line_no=line_no,
            hint="Cells have to be separated by commas, not by semicolons or tabs.",
        )
    return names
