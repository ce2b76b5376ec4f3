"""Jobs by name, from whichever process they were submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade_batch.client.job import Job
from cascade_batch.client.known_arguments import known_arguments
from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import services
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_JOBS_COLUMNS = (
    "status",
    "rows_total",
    "rows_answered",
    "rows_failed",
    "spent_usd",
    "budget_usd",
    "quality",
    "created_at",
)


@known_arguments()
def job(name: str, data: pd.DataFrame | None = None) -> Job:
    """The job of this name, whoever submitted it, from whichever process.

    Args:
        data: The DataFrame that it was submitted from, so that results have its index and `df.join` works as
            in the process that submitted it. Every row is held against what is stored; it may have further
            columns by now.

    Raises:
        UsageError: The DataFrame is another one, and the message says which row is the first that differs; or
            the job is still reading it.
        JobNotFoundError: There is none; the note names a similar one.
        ServiceUnreachableError: The database can't be reached.

    Examples:
        >>> cascade_batch.job("example").name
        'example'
        >>> cascade_batch.job("exmaple")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        cascade_batch.errors.JobNotFoundError: There is no job called 'exmaple'.
    """
    from cascade_batch.engine.jobs import find_job

    with python_words(), services() as service, service.engine.connect() as connection:
        found = find_job(connection, name)
        if data is None:
            return Job(found.name)
        from cascade_batch.client.frame_index import labels_of

        if found.reading and not found.state.is_over:
            raise UsageError(
                f"job(): job {name!r} is still being read, and no DataFrame can be held against it yet.",
                hint="Give it once all is read; until then results have row numbers as their index.",
            )
        return Job(found.name, labels_of(connection, found.job_id, found.name, data))


def jobs() -> pd.DataFrame:
    """All jobs, the newest first.

    Returns:
        A row per job, under its name: `status`, `rows_total`, `rows_answered`, `rows_failed`, `spent_usd`,
        `budget_usd`, `quality` and `created_at`.

    Raises:
        ServiceUnreachableError: The database can't be reached.

    Examples:
        >>> cascade_batch.jobs().loc["example", "status"]
        'finished'
    """
    import pandas as pd

    from cascade_batch.engine.status import list_jobs

    with python_words(), services() as service, service.engine.connect() as connection:
        found = list_jobs(connection)
    rows = [
        {**status, **{f"rows_{what}": count for what, count in status["rows"].items()}}
        for status in found
    ]
    names = pd.Index([status["name"] for status in found], name="name")
    frame = pd.DataFrame(rows, index=names, columns=list(_JOBS_COLUMNS))
    frame["created_at"] = pd.to_datetime(frame["created_at"], format="ISO8601", utc=True)
    return frame
