"""Results as a DataFrame whose columns have the types that the job's output declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from cascade_batch.domain.job import Output
from cascade_batch.results.typed import value_columns

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd


def results_frame(table: pa.Table, output: Output, index: pd.Index[Any]) -> pd.DataFrame:
    """The table as a DataFrame under this index; values without a column type are lists and dicts."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame["row_no"] = frame["row_no"].astype("int64")
    for column in value_columns(output):
        if column.kind == "json" or column.is_list:
            cells = table.column(column.name).to_pylist()
            if not column.is_list:
                cells = [None if text is None else orjson.loads(text) for text in cells]
            frame[column.name] = pd.Series(cells, dtype=object, index=frame.index)
    frame.index = index
    return frame
