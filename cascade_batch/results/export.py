"""Writing results to a file: whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.errors import UsageError
from cascade_batch.results.files import whole_file
from cascade_batch.results.reading import FIELDS, Result

_BLOCK_ROWS = 20_000


def export_results(results: Iterable[Result], path: Path) -> int:
    """Write results to `path`, in the format of its ending: .jsonl, .csv or .parquet.

    The file appears under its name only when it is complete; an earlier one is kept until then.

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
        return write(results, unfinished)


def write_jsonl(results: Iterable[Result], stream: BinaryIO) -> int:
    """Write results as lines of JSON.

    Returns:
        How many rows were written.
    """
    rows = 0
    for block in _blocks(results):
        stream.write(b"".join([_json_line(r) for r in block]))
        rows += len(block)
    return rows


def _json_line(result: Result) -> bytes:
    return orjson.dumps(
        {
            "custom_id": result.custom_id,
            "row_no": result.row_no,
            "status": result.status,
            "answer": result.answer,
            "value": None if result.value is None else orjson.Fragment(result.value),
            "tier": result.tier,
            "quality": result.quality,
            "cost_usd": result.cost_nanousd / NANOUSD_PER_USD,
            "error": result.error,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _to_jsonl(results: Iterable[Result], path: Path) -> int:
    with path.open("wb") as stream:
        return write_jsonl(results, stream)


def _to_csv(results: Iterable[Result], path: Path) -> int:
    rows = 0
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(FIELDS)
        for block in _blocks(results):
            writer.writerows(map(_plain, block))
            rows += len(block)
    return rows


def _to_parquet(results: Iterable[Result], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {
        "row_no": pa.int64(),
        "quality": pa.float32(),
        "cost_usd": pa.float64(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in FIELDS])
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in _blocks(results):
            columns = list(zip(*map(_plain, block), strict=True))
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            rows += len(block)
    return rows


def _plain(result: Result) -> tuple[Any, ...]:
    """The result in the order of `FIELDS`; a text value without its JSON quotes."""
    value = result.value
    if value is not None and value.startswith('"'):
        value = orjson.loads(value)
    return (
        *result[:4],
        value,
        *result[5:7],
        result.cost_nanousd / NANOUSD_PER_USD,
        result.error,
    )


def _blocks(results: Iterable[Result]) -> Iterator[list[Result]]:
    iterator = iter(results)
    while block := list(islice(iterator, _BLOCK_ROWS)):
        yield block
