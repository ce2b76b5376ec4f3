"""Writing results to a file: whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import sqlalchemy as sa

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.domain.output_columns import OutputColumn
from cascade_batch.errors import UsageError
from cascade_batch.results.failures import (
    error_file,
    failed_rows,
    require_own,
    write_failures,
)
from cascade_batch.results.files import whole_file
from cascade_batch.results.inputs import input_reader, layout, read_inputs
from cascade_batch.results.key_order import value_reader
from cascade_batch.results.reading import FIELDS, Result, blocks, stream_results


def export_results(
    results: Iterable[Result], path: Path, output: Output, inputs: Sequence[OutputColumn] = ()
) -> int:
    """Write results to `path`, in the format of its ending: .jsonl, .csv or .parquet.

    The file appears under its name only when it is complete; an earlier one is kept until then.

    Args:
        output: What the job's answers look like: a Parquet file has columns of these types (see
            `domain.output_columns`), the other two have none to give.
        inputs: The columns of the input that are to stand beside the answers, if any.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The ending is none of the three, or the folder is missing.
        CascadeError: The file could not be written.
    """
    writers = {".jsonl": _to_jsonl, ".csv": _to_csv, ".parquet": _to_parquet}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise UsageError(
            f"{path}: results are written as .jsonl, .csv or .parquet.",
            hint="Give the file one of these endings.",
        )
    with whole_file(path, "the results are") as unfinished:
        return write(results, unfinished, output, inputs)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: `rows` of results, and how many of them failed, told of in `errors`, if any did."""

    rows: int
    failed: int
    errors: Path


def export_job(
    connection: sa.Connection, job_id: int, path: Path, spec: JobSpec, *, with_input: bool = False
) -> Exported:
    """Write a job's results to `path`, and the rows that failed to a file beside it, see `write_failures`.

    Raises:
        UsageError: The ending is unknown, the folder is missing, or another file is in the way.
        CascadeError: A file could not be written.
    """
    errors = error_file(path)
    require_own(errors)
    inputs = read_inputs(connection, job_id, spec) if with_input else ()
    results = stream_results(connection, job_id, with_input=with_input)
    rows = export_results(results, path, spec.output, inputs)
    return Exported(rows, write_failures(failed_rows(connection, job_id), errors), errors)


def write_jsonl(
    results: Iterable[Result],
    stream: BinaryIO,
    output: Output,
    inputs: Sequence[OutputColumn] = (),
) -> int:
    """Write results as lines of JSON.

    Returns:
        How many rows were written.
    """
    rows = 0
    read = value_reader(output)
    line = _line_with(inputs, read) if inputs else partial(_json_line, read=read)
    for block in blocks(results):
        stream.write(b"".join([line(result) for result in block]))
        rows += len(block)
    return rows


def _json_line(result: Result, read: Callable[[str], Any]) -> bytes:
    return orjson.dumps(_told(result, read), option=orjson.OPT_APPEND_NEWLINE)


def _line_with(
    inputs: Sequence[OutputColumn], read: Callable[[str], Any]
) -> Callable[[Result], bytes]:
    names, given = layout(inputs, ["value"]), input_reader(inputs)

    def line(result: Result) -> bytes:
        told = given(result) | _told(result, read)
        in_order = {name: told[name] for name in names}
        return orjson.dumps(in_order, option=orjson.OPT_APPEND_NEWLINE)

    return line


def _told(result: Result, read: Callable[[str], Any]) -> dict[str, Any]:
    return {
        "custom_id": result.custom_id,
        "row_no": result.row_no,
        "status": result.status,
        "answer": result.answer,
        "value": None if result.value is None else read(result.value),
        "tier": result.tier,
        "quality": result.quality,
        "cost_usd": result.cost_nanousd / NANOUSD_PER_USD,
        "error": result.error,
    }


def _to_jsonl(
    results: Iterable[Result], path: Path, output: Output, inputs: Sequence[OutputColumn]
) -> int:
    with path.open("wb") as stream:
        return write_jsonl(results, stream, output, inputs)


def _to_csv(
    results: Iterable[Result], path: Path, output: Output, inputs: Sequence[OutputColumn]
) -> int:
    rows = 0
    read = value_reader(output)
    given = input_reader(inputs)
    names = layout(inputs, ["value"])
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for block in blocks(results):
            lines = [_plain(r, read) for r in block]
            if inputs:
                told = (
                    dict(zip(FIELDS, line, strict=True)) | _cells(given(result))
                    for line, result in zip(lines, block, strict=True)
                )
                writer.writerows([[row[name] for name in names] for row in told])
            else:
                writer.writerows(lines)
            rows += len(block)
    return rows


def _cells(given: dict[str, Any]) -> dict[str, Any]:
    """Texts as they are, everything else as JSON; nothing for null."""
    return {
        name: value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in given.items()
    }


def _to_parquet(
    results: Iterable[Result], path: Path, output: Output, inputs: Sequence[OutputColumn]
) -> int:
    import pyarrow.parquet as pq

    from cascade_batch.results.typed import Columns, results_batches

    rows = 0
    schema, batches = results_batches(results, Columns(output, inputs))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _plain(result: Result, read: Callable[[str], Any]) -> tuple[Any, ...]:
    """The result in the order of `FIELDS`; a text value without its JSON quotes."""
    value = result.value
    if value is not None and value.startswith('"'):
        value = orjson.loads(value)
    elif value is not None and value[0] in "{[":
        value = orjson.dumps(read(value)).decode()
    return (
        *result[:4],
        value,
        *result[5:7],
        result.cost_nanousd / NANOUSD_PER_USD,
        result.error,
    )
