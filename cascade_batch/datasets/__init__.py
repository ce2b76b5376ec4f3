"""Data sets in: a stream of records, in constant memory.

What a record is, whatever the format:

- **JSON Lines** (`.jsonl`, `.ndjson`, `.json`): an object per line, in UTF-8, with or without a byte
  order mark. Where a key is written twice, the last one counts.
- **CSV** (`.csv`): comma-separated, the first row names the columns, quoted cells may run over
  several lines. Every value is text; an empty cell is an empty text. Spaces around a column's name
  are dropped.
- **Parquet** (`.parquet`): values become JSON values: dates, times and timestamps ISO 8601 text,
  decimals text (all their digits), durations seconds, maps lists of `[key, value]`, NaN and infinite
  numbers null. Columns of bytes are refused.

The first two may be packed (`.gz`, `.zst`); `-` is JSON Lines from standard input. Empty lines are
skipped, and counted.

A record that can't be used stops the reading with a `DataError`, or goes to `on_bad` and is left out:
nothing is mended silently. A fault of the whole file (missing, cut off, without a record) always
stops the reading.

Memory: a buffer, the record at hand (up to `MAX_ROW_BYTES`), and about 20 bytes for every record that
brings an id of its own, for finding duplicates.
"""

from cascade_batch.datasets.in_memory import InMemory
from cascade_batch.datasets.reading import check_source, read_records
from cascade_batch.datasets.records import MAX_DEPTH, MAX_ROW_BYTES

__all__ = ["MAX_DEPTH", "MAX_ROW_BYTES", "InMemory", "check_source", "read_records"]
