"""Results as a DataFrame whose columns have the types that the job's output declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from cascade_batch.engine.jobs import Job, find_job
from cascade_batch.results.inputs import read_inputs
from cascade_batch.results.reading import stream_results
from cascade_batch.results.typed import Columns, results_table

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd
    import sqlalchemy as sa


def read_results(
    connection: sa.Connection, name: str, *, with_input: bool
) -> tuple[pa.Table, Columns, Job]:
    """A job's results as an Arrow table, what its columns hold, and the job itself.

    Raises:
        JobNotFoundError: There is no such job.
    """
    job = find_job(connection, name)
    inputs = read_inputs(connection, job.job_id, job.spec) if with_input else ()
    columns = Columns(job.spec.output, inputs)
    results = stream_results(connection, job.job_id, with_input=with_input)
    return results_table(results, columns), columns, job


def results_frame(table: pa.Table, columns: Columns, index: pd.Index[Any]) -> pd.DataFrame:
    """The table as a DataFrame under this index; values without a column type are lists and dicts."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame["row_no"] = frame["row_no"].astype("int64")
    for column in (*columns.inputs, *columns.values):
        if column.kind == "json" or column.is_list:
            cells = table.column(column.name).to_pylist()
            if not column.is_list:
                cells = [None if text is None else orjson.loads(text) for text in cells]
            frame[column.name] = pd.Series(cells, dtype=object, index=frame.index)
    frame.index = index
    return frame
