"""Results out: streamed in input order, whatever their number, to JSONL, CSV or Parquet."""

from cascade_batch.results.export import export_results, write_jsonl
from cascade_batch.results.reading import FIELDS, FailedRow, Result, failed_rows, stream_results

__all__ = [
    "FIELDS",
    "FailedRow",
    "Result",
    "export_results",
    "failed_rows",
    "stream_results",
    "write_jsonl",
]
