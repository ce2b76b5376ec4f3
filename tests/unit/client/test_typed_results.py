"""Results as tables: types from the declared output, whatever answers hold."""

from __future__ import annotations

import json
from io import BytesIO

import pandas as pd
import pyarrow as pa

from cascade_batch.client.typed_results import results_frame
from cascade_batch.domain.job import Output
from cascade_batch.results import Result, write_jsonl
from cascade_batch.results.typed import Columns, results_table


def result(row_no: int, value: object) -> Result:
    text = None if value is None else json.dumps(value)
    status = "failed" if value is None else "answered"
    return Result(str(row_no), row_no, status, text, text, "small", None, 1500, None)


def table_of(output: Output, *values: object) -> pa.Table:
    return results_table([result(no, value) for no, value in enumerate(values)], Columns(output))


def frame_of(output: Output, *values: object) -> pd.DataFrame:
    return results_frame(table_of(output, *values), Columns(output), pd.RangeIndex(len(values)))


def written(output: Output, value: object) -> dict[str, object]:
    stream = BytesIO()
    write_jsonl([result(0, value)], stream, output)
    line: dict[str, object] = json.loads(stream.getvalue())
    return line


def schema(**properties: object) -> Output:
    return Output(json_schema={"type": "object", "properties": properties})


def test_choices_are_a_categorical_with_all_choices_in_their_order():
    value = frame_of(Output(choices=("up", "down", "none")), "none", None)["value"]

    assert value.cat.categories.tolist() == ["up", "down", "none"]
    assert value.iloc[0] == "none"
    assert pd.isna(value.iloc[1])


def test_fields_of_a_schema_are_columns_of_their_types():
    output = schema(
        n={"type": ["integer", "null"]},
        x={"type": "number"},
        yes={"type": "boolean"},
        kind={"enum": ["a", "b", None]},
        tags={"type": "array"},
        error={"type": "string"},
    )
    given = {"n": 3.0, "x": 1, "yes": False, "kind": "b", "tags": ["t"], "error": "its own"}

    frame = frame_of(output, given, {"n": None}, None)

    kinds = frame.dtypes.astype(str)
    assert kinds[["n", "x", "yes", "kind"]].tolist() == ["Int64", "float64", "boolean", "category"]
    assert frame.loc[0, ["n", "x", "yes", "kind"]].tolist() == [3, 1.0, False, "b"]
    assert (frame.loc[0, "tags"], frame.loc[0, "value"]) == (["t"], given)
    # A field that is called like a column of every table does not take its place.
    assert frame.loc[0, "answer_error"] == "its own"
    assert pd.isna(frame.loc[0, "error"])
    assert frame["n"].isna().tolist() == [False, True, True]


def test_integers_beyond_64_bits_make_their_column_one_of_floats():
    frame = frame_of(schema(n={"type": "integer"}), {"n": 2**63}, {"n": 1})

    assert frame["n"].tolist() == [2.0**63, 1.0]


def test_a_table_without_rows_has_all_columns_and_their_types():
    output = schema(n={"type": "integer"})

    assert table_of(output).schema == table_of(output, {"n": 1}).schema
    assert frame_of(output)["n"].dtype == "Int64"


def test_a_schema_of_a_scalar_types_the_value_itself():
    assert frame_of(Output(json_schema={"type": "integer"}), 7)["value"].tolist() == [7]
    assert frame_of(Output(), "free text")["value"].tolist() == ["free text"]


def test_keys_of_a_value_are_in_the_order_of_the_schema_and_unknown_ones_behind():
    inner = {"type": "object", "properties": {"when": {}, "at": {}}}
    output = Output(
        json_schema={
            "properties": {
                "why": {"type": "string"},
                "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}},
                "ok": {"type": "boolean"},
                "again": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            },
            "$defs": {"Stop": inner},
        }
    )
    held = {"ok": True, "new": 1, "why": "so", "stops": [{"at": 1, "when": 2}], "again": None}
    given = {**held, "again": {"ok": False, "why": "not"}}

    value = frame_of(output, given).loc[0, "value"]

    assert value == given
    assert list(value) == ["why", "stops", "ok", "again", "new"]
    assert list(value["stops"][0]) == ["when", "at"]
    assert list(value["again"]) == ["why", "ok"]
    assert written(output, given)["value"] == given
    assert list(written(output, given)["value"]) == ["why", "stops", "ok", "again", "new"]


def test_numbers_that_no_float_holds_are_written_as_they_are():
    output = schema(n={"type": "integer"}, a={"type": "number"})

    stream = BytesIO()
    text = '{"a": 0.12345678901234567890, "n": 123456789012345678901}'
    write_jsonl([result(0, None)._replace(value=text)], stream, output)

    assert b'{"n":123456789012345678901,"a":0.12345678901234567890}' in stream.getvalue()
