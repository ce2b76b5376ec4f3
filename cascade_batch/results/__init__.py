"""Results out: streamed in input order, whatever their number, to JSONL, CSV or Parquet; and what failed."""

from cascade_batch.results.export import Exported, export_job, export_results, write_jsonl
from cascade_batch.results.failures import (
    FailedRow,
    FailureGroup,
    error_file,
    failed_rows,
    failure_groups,
    missing_money,
)
from cascade_batch.results.inputs import read_inputs
from cascade_batch.results.reading import FIELDS, Result, stream_results

__all__ = [
    "FIELDS",
    "Exported",
    "FailedRow",
    "FailureGroup",
    "Result",
    "error_file",
    "export_job",
    "export_results",
    "failed_rows",
    "failure_groups",
    "missing_money",
    "read_inputs",
    "stream_results",
    "write_jsonl",
]
