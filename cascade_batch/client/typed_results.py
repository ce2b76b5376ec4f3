"""Results as a table whose columns have the types that the job's output declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import orjson
import pyarrow as pa

from cascade_batch.domain.job import Output
from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.results import FIELDS, Result

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "choice", "integer", "number", "boolean", "json"]

_BLOCK_ROWS = 20_000
_SCALARS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_LEAST, _MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column that holds the parsed value, or a field of it.

    Attributes:
        name: What the table calls it.
        field: The field of the value; None: the value itself.
        kind: What it holds. `json`: whatever has no column type of its own.
        choices: All that it can be, where `kind` is `choice`.
    """

    name: str
    field: str | None
    kind: Kind
    choices: tuple[str, ...] = ()


def value_columns(output: Output) -> list[Column]:
    """The columns for an output: its value, then a column for each of its fields.

    A field with the name of a column that every table has gets `answer_` put before it.
    """
    if output.choices is not None:
        return [Column("value", None, "choice", output.choices)]
    schema = output.json_schema
    if schema is None:
        return [Column("value", None, "text")]
    columns = [_column("value", None, schema)]
    fields = schema.get("properties")
    taken = set(FIELDS)
    for field, inner in fields.items() if isinstance(fields, Mapping) else ():
        name = field
        while name in taken:
            name = f"answer_{name}"
        taken.add(name)
        columns.append(_column(name, field, inner))
    return columns


def _column(name: str, field: str | None, schema: Any) -> Column:
    if not isinstance(schema, Mapping):
        return Column(name, field, "json")
    listed = schema.get("enum")
    if isinstance(listed, list):
        texts = tuple(text for text in listed if isinstance(text, str))
        if texts and len(texts) == len([one for one in listed if one is not None]):
            return Column(name, field, "choice", texts)
    kinds = schema.get("type")
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    kind = _SCALARS.get(str(named[0]), "json") if len(named) == 1 else "json"
    return Column(name, field, kind)


def results_table(results: Iterable[Result], output: Output) -> pa.Table:
    """The results as an Arrow table; values without a column type of their own are JSON text."""
    columns = value_columns(output)
    chunks: dict[str, list[Any]] = {name: [] for name in _names(columns)}
    for block in _blocks(results):
        for name, array in _arrays(block, columns):
            chunks[name].append(array)
    types = dict(_arrays([], columns))
    return pa.table(
        {
            name: _joined(arrays) if arrays else pa.chunked_array([types[name]])
            for name, arrays in chunks.items()
        }
    )


def results_frame(table: pa.Table, output: Output, index: pd.Index[Any]) -> pd.DataFrame:
    """The table as a DataFrame under this index; values without a column type are lists and dicts."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame["row_no"] = frame["row_no"].astype("int64")
    for column in value_columns(output):
        if column.kind == "json":
            texts = table.column(column.name).to_pylist()
            parsed = [None if text is None else orjson.loads(text) for text in texts]
            frame[column.name] = pd.Series(parsed, dtype=object, index=frame.index)
    frame.index = index
    return frame


def _names(columns: Sequence[Column]) -> list[str]:
    names = list(FIELDS)
    return names + [column.name for column in columns if column.name not in names]


def _blocks(results: Iterable[Result]) -> Iterator[list[Result]]:
    iterator = iter(results)
    while block := list(islice(iterator, _BLOCK_ROWS)):
        yield block


def _arrays(block: Sequence[Result], columns: Sequence[Column]) -> Iterator[tuple[str, Any]]:
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
    for column in columns:
        yield column.name, _typed(column, values)


def _typed(column: Column, values: Sequence[Any]) -> Any:
    if column.field is not None:
        field = column.field
        values = [value.get(field) if isinstance(value, dict) else None for value in values]
    if column.kind == "choice":
        places = {choice: place for place, choice in enumerate(column.choices)}
        indices = [places.get(value) if isinstance(value, str) else None for value in values]
        return pa.DictionaryArray.from_arrays(
            pa.array(indices, pa.int32()), pa.array(column.choices, pa.string())
        )
    if column.kind == "boolean":
        return pa.array([v if isinstance(v, bool) else None for v in values], pa.bool_())
    if column.kind in ("integer", "number"):
        return _numbers(values, column.kind)
    if column.kind == "text":
        return pa.array(
            [v if v is None or isinstance(v, str) else _json(v) for v in values], pa.string()
        )
    return pa.array([None if v is None else _json(v) for v in values], pa.string())


def _numbers(values: Sequence[Any], kind: Kind) -> Any:
    numbers = [
        v if isinstance(v, int | float) and not isinstance(v, bool) else None for v in values
    ]
    # JSON's integers have no end, and 1.0 is one of them.
    if kind == "integer" and all(n is None or _LEAST <= n <= _MOST for n in numbers):
        return pa.array([None if n is None else int(n) for n in numbers], pa.int64())
    return pa.array([None if n is None else float(n) for n in numbers], pa.float64())


def _joined(arrays: list[Any]) -> Any:
    """One column; of floats, if some block's integers were too large for another type."""
    if len({array.type for array in arrays}) > 1:
        arrays = [array.cast(pa.float64()) for array in arrays]
    return pa.chunked_array(arrays)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
