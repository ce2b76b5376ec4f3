"""Results as Arrow tables, whose columns have the types that the job's output declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from cascade_batch.domain.job import Output
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.domain.output_columns import KeyOrder, Kind, OutputColumn, output_columns
from cascade_batch.results.inputs import layout
from cascade_batch.results.reading import FIELDS, Result, blocks
from cascade_batch.store.result_view import MAX_IDENTIFIER_BYTES

_LEAST, _MOST = -(2**63), 2**63 - 1
_TYPES = {
    "text": pa.string(),
    "choice": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}


class Columns:
    """What a table of results has beside what all of them have, and in which order.

    Attributes:
        inputs: The columns of the input; none, where it is left out.
        values: The columns that hold the value and its parts.
        names: All columns, in their order.
        order: Where the keys of a value stand; None where nothing says so.
    """

    def __init__(self, output: Output, inputs: Sequence[OutputColumn] = ()) -> None:
        self.inputs = tuple(inputs)
        # With the input, names are those of the view, which end where those of Postgres end.
        self.values = output_columns(
            output.json_schema,
            (*FIELDS, *(column.name for column in inputs)),
            choices=output.choices or (),
            most_bytes=MAX_IDENTIFIER_BYTES if inputs else None,
        )
        self.names = layout(self.inputs, [column.name for column in self.values])
        self.order = KeyOrder.of(output.json_schema)


def results_table(results: Iterable[Result], columns: Columns) -> pa.Table:
    """The results as an Arrow table.

    Choices are dictionary-encoded, lists of scalars are lists, and what has no column type of its own is JSON
    text. Integers that 64 bits don't hold make their column one of floats.
    """
    chunks: dict[str, list[Any]] = {name: [] for name in columns.names}
    for block in blocks(results):
        for name, array in _arrays(block, columns):
            chunks[name].append(array)
    types = dict(_arrays([], columns))
    return pa.table(
        {
            name: _joined(arrays) if arrays else pa.chunked_array([types[name]])
            for name, arrays in chunks.items()
        }
    )


def results_batches(
    results: Iterable[Result], columns: Columns
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The results as a stream of batches of one schema, for files: in constant memory.

    As `results_table`, but for choices, which are text, and for integers that 64 bits don't hold: a column of
    integers has nothing in their place.
    """
    types = {name: _plain_type(array.type) for name, array in _arrays([], columns)}
    schema = pa.schema([(name, types[name]) for name in columns.names])

    def batches() -> Iterator[pa.RecordBatch]:
        for block in blocks(results):
            arrays = dict(_arrays(block, columns, is_strict=True))
            cast = [arrays[name].cast(types[name]) for name in columns.names]
            yield pa.record_batch(cast, schema=schema)

    return schema, batches()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _arrays(
    block: Sequence[Result], columns: Columns, *, is_strict: bool = False
) -> Iterator[tuple[str, Any]]:
    own: dict[str, tuple[Any, Callable[[Result], Any]]] = {
        "custom_id": (pa.string(), lambda r: r.custom_id),
        "row_no": (pa.int64(), lambda r: r.row_no),
        "status": (pa.string(), lambda r: r.status),
        "answer": (pa.string(), lambda r: r.answer),
        "tier": (pa.string(), lambda r: r.tier),
        "quality": (pa.float64(), lambda r: r.quality),
        "cost_usd": (pa.float64(), lambda r: r.cost_nanousd / NANOUSD_PER_USD),
        "error": (pa.string(), lambda r: r.error),
    }
    for name, (kind, get) in own.items():
        yield name, pa.array([get(result) for result in block], type=kind)
    values = [None if r.value is None else orjson.loads(r.value) for r in block]
    if columns.order is not None:
        values = [columns.order.sorted(value) for value in values]
    if columns.inputs:
        rows = [orjson.loads(result.input or "{}") for result in block]
        for column in columns.inputs:
            yield column.name, _typed(column, [_at(row, column.path) for row in rows], is_strict)
    for column in columns.values:
        yield column.name, _typed(column, [_at(value, column.path) for value in values], is_strict)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for field in path:
        value = value.get(field) if isinstance(value, dict) else None
    return value


def _typed(column: OutputColumn, values: Sequence[Any], is_strict: bool) -> Any:
    if column.kind == "json":
        return pa.array([None if v is None else _json(v) for v in values], pa.string())
    if column.is_list:
        return _lists(column.kind, values)
    if column.kind == "choice":
        places = {choice: place for place, choice in enumerate(column.choices)}
        indices = [places.get(value) if isinstance(value, str) else None for value in values]
        return pa.DictionaryArray.from_arrays(
            pa.array(indices, pa.int32()), pa.array(column.choices, pa.string())
        )
    if column.kind == "text":
        return pa.array(
            [v if v is None or isinstance(v, str) else _json(v) for v in values], pa.string()
        )
    scalars = [_scalar(column.kind, v) for v in values]
    is_whole = column.kind != "integer" or all(n is None or _LEAST <= n <= _MOST for n in scalars)
    if is_whole or not is_strict:
        kind = _TYPES[column.kind] if is_whole else pa.float64()
        return pa.array(
            scalars if is_whole else [None if n is None else float(n) for n in scalars], kind
        )
    return pa.array(
        [n if n is not None and _LEAST <= n <= _MOST else None for n in scalars], pa.int64()
    )


def _scalar(kind: Kind, value: Any) -> Any:
    """The value as its column holds it; None where it is of another type."""
    if kind == "boolean" or isinstance(value, bool):
        return value if kind == "boolean" and isinstance(value, bool) else None
    if kind in ("text", "choice"):
        return value if isinstance(value, str) else None
    if not isinstance(value, int | float):
        return None
    # JSON's integers have no end, and 1.0 is one of them.
    return int(value) if kind == "integer" else float(value)


def _lists(kind: Kind, values: Sequence[Any]) -> Any:
    """A list whose items are not all of the kind, or too large for it, is none."""
    found = []
    for value in values:
        items = value if isinstance(value, list) else None
        scalars = None if items is None else [_scalar(kind, one) for one in items]
        if scalars is not None and items is not None:
            fits = all((s is None) == (i is None) for s, i in zip(scalars, items, strict=True))
            if kind == "integer":
                fits = fits and all(s is None or _LEAST <= s <= _MOST for s in scalars)
            scalars = scalars if fits else None
        found.append(scalars)
    return pa.array(found, pa.list_(_TYPES[kind]))


def _joined(arrays: list[Any]) -> Any:
    """One column; of floats, if some block's integers were too large for another type."""
    if len({array.type for array in arrays}) > 1:
        arrays = [array.cast(pa.float64()) for array in arrays]
    return pa.chunked_array(arrays)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
