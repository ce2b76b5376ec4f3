"""A job as a Python program holds it: a name, and everything that can be asked of it or done to it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_batch.client.controls import JobControls, nanousd
from cascade_batch.client.known_arguments import known_arguments
from cascade_batch.client.looking import Sight, looker
from cascade_batch.client.progress import Progress, progress_of
from cascade_batch.client.python_words import python_words
from cascade_batch.client.services import services
from cascade_batch.client.telling import AGAIN, advice, as_sentence
from cascade_batch.client.waiting import Show, Waiting, make_show, notebook
from cascade_batch.client.warning import warn
from cascade_batch.domain.job import JobState
from cascade_batch.errors import CascadeError, JobFailedError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import sqlalchemy as sa

    from cascade_batch.client.audit import Audit
    from cascade_batch.engine import jobs as engine_jobs


class Job(JobControls):
    """One submission. It lives in the database: this is a handle, and losing it loses nothing.

    Made by `submit`, and found again by `job`. Every method asks the database anew, so that what it says is
    true now. In a notebook a job shows itself as a table; `print(job)` says the same in a few lines.

    Every method may raise:
        ServiceUnreachableError: The database can't be reached.
        JobNotFoundError: The job was deleted.
    """

    def __init__(self, name: str, index: pd.Index[Any] | None = None) -> None:
        super().__init__(name)
        self._index = index
        self._shown_in_cell: object = None

    @property
    def name(self) -> str:
        """The job's name: the one to give to `cascade_batch.job` and to the command line."""
        return self._name

    @property
    def status(self) -> JobState:
        """The job's state, a text: queued, running, paused, finished, cancelled or failed."""
        return self.progress().status

    def progress(self) -> Progress:
        """How far the job is: rows, money in dollars, tiers.

        Reads counters, so that it is quick for jobs of any size.

        Examples:
            >>> progress = cascade_batch.job("example").progress()
            >>> progress.rows_answered, progress.rows_total, progress.spent_usd < progress.budget_usd
            (4, 4, True)
            >>> [tier.name for tier in progress.tiers]
            ['small', 'large']
        """
        from cascade_batch.client.reading import read_status

        with self._services() as service:
            return progress_of(Sight(read_status(service.engine, self._name)))

    @known_arguments()
    def wait(self, timeout_s: float | None = None, *, progress: bool | Show = True) -> Job:
        """Wait until the job is over. What interrupts the wait (Ctrl-C, say) leaves the job running.

        A paused job is not over: somebody may resume it.

        Args:
            timeout_s: Wait no longer than these seconds; None: as long as it takes.
            progress: Whether to show progress: in a notebook a table that changes in place, elsewhere a line
                of text on standard error every five seconds. A function is called with a `Progress` at every
                look (twice a second) instead.

        Returns:
            The job itself, finished or cancelled. If rows failed, answers do not fit or the money ran out,
            the end of the progress says so, and what to call; where none is shown, a `JobWarning` does.

        Raises:
            JobFailedError: The job stopped because of something that it can't mend by itself.
            TimeoutError: It is not over after `timeout_s`; it goes on.

        Examples:
            >>> cascade_batch.job("example").wait(timeout_s=60, progress=False).status.value
            'finished'
        """
        waiting = Waiting(self._show(progress), timeout_s)
        try:
            with self._services() as service:
                look = looker(service.engine, self._name)
                while True:
                    seen, pause_s = waiting.see(look())
                    if pause_s is None:
                        return self._over(seen, is_shown=progress is True)
                    time.sleep(pause_s)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"Job {self._name!r} goes on. Wait for it again, or stop it by its method cancel();"
                f" in another session it is cascade_batch.job({self._name!r})."
            )
            raise

    async def wait_async(
        self, timeout_s: float | None = None, *, progress: bool | Show = True
    ) -> Job:
        """`wait` for an event loop, which goes on meanwhile; a task that is cancelled leaves the job running.

        The other methods have no such twin: they are one short question each, for which
        `asyncio.to_thread(job.results)` does as well.
        """
        waiting = Waiting(self._show(progress), timeout_s)
        with python_words(), ExitStack() as stack:
            service = await asyncio.to_thread(stack.enter_context, services())
            look = looker(service.engine, self._name)
            while True:
                seen, pause_s = waiting.see(await asyncio.to_thread(look))
                if pause_s is None:
                    return self._over(seen, is_shown=progress is True)
                await asyncio.sleep(pause_s)

    @known_arguments()
    def results(self, *, with_input: bool = False) -> pd.DataFrame:
        """The rows that are answered or failed, in the order of the input. Rows to come are left out.

        Where the job was submitted from a DataFrame by this very object, or `cascade_batch.job` was given
        that DataFrame, the result has its index, so that `df.join(job.results()[["value", "tier"]])` puts
        rows and answers side by side. Else the index is the row number, from 0; where the DataFrame's was
        another, a `JobWarning` says so.

        Args:
            with_input: Put the columns of the input beside the answers: the columns of the job's view in SQL,
                in its order, and of several that want one name each gets the name that it has there.

        Returns:
            Columns: `custom_id` (the row's own id, else its number as text), `row_no`, `status` (answered or
            failed), `answer` (text), `value` (the answer as the job's output declares it), `tier` (whose
            answer it is), `quality` (calibrated probability that it is right), `cost_usd` (of all calls for
            the row), `error`. `value` is a categorical for choices, text for a pattern or free text, and for
            a JSON schema a dict or what the schema says; missing where the answer does not fit. For a schema
            with properties each is a column, too: Int64, float64, boolean, text, a categorical where it
            lists texts, else lists and dicts.

        Examples:
            >>> results = cascade_batch.job("example").results()
            >>> results["value"].tolist()
            ['up', 'down', 'none', 'up']
            >>> results["value"].cat.categories.tolist()
            ['up', 'down', 'none']
            >>> cascade_batch.job("example").results(with_input=True)[["headline", "value"]].iloc[0].tolist()
            ['Gold jumps', 'up']
        """
        from cascade_batch.client.typed_results import read_results, results_frame

        with self._services() as service, service.engine.connect() as connection:
            table, columns, found = read_results(connection, self._name, with_input=with_input)
            labels = self._labels(connection, found, table.column("row_no").to_numpy())
        return results_frame(table, columns, labels)

    @known_arguments()
    def arrow(self, *, with_input: bool = False) -> pa.Table:
        """The results as a pyarrow Table, with the columns of `results`.

        Choices are dictionary-encoded, lists of scalars are lists; what has no column type of its own is JSON
        text. Fields of an object have columns as well (`address_city`).

        Args:
            with_input: As of `results`.

        Examples:
            >>> cascade_batch.job("example").arrow().column("row_no").to_pylist()
            [0, 1, 2, 3]
        """
        from cascade_batch.client.typed_results import read_results

        with self._services() as service, service.engine.connect() as connection:
            return read_results(connection, self._name, with_input=with_input)[0]

    @known_arguments()
    def export(self, path: str | os.PathLike[str], *, with_input: bool = False) -> int:
        """Write the results to a .jsonl, .csv or .parquet file, in constant memory, whole or not at all.

        A Parquet file's columns have the types of `arrow`. Rows that failed are also written to a file beside
        it (`out.errors.jsonl` for `out.parquet`), a line of JSON each with `custom_id`, `reason`, `error`
        and the input `row`; without failures there is no such file afterwards.

        Args:
            with_input: Write the input's columns as well, see `results`.

        Returns:
            How many rows were written.

        Raises:
            UsageError: The ending is none of the three, the folder is missing, or another file has the
                name of that for the failures.
        """
        from cascade_batch.engine.jobs import find_job
        from cascade_batch.results import export_job

        with self._services() as service, service.engine.connect() as connection:
            found = find_job(connection, self._name)
            return export_job(
                connection, found.job_id, Path(path), found.spec, with_input=with_input
            ).rows

    @known_arguments()
    def errors(self) -> pd.DataFrame:
        """The rows that failed, and why, in the order of the input; indexed as `results` is.

        Returns:
            Columns: `custom_id`, `row_no`, `line_no` (place in the data set, from 1), `error`, `reason`
            (money, refused, lost or stopped: see `retry`).
        """
        import pandas as pd

        from cascade_batch.engine.jobs import find_job
        from cascade_batch.results import FailedRow, failed_rows

        with self._services() as service, service.engine.connect() as connection:
            job = find_job(connection, self._name)
            rows = list(failed_rows(connection, job.job_id))
            labels = self._labels(connection, job, [row.row_no for row in rows])
        frame = pd.DataFrame(rows, columns=list(FailedRow._fields))
        frame.index = labels
        return frame[["custom_id", "row_no", "line_no", "error", "reason"]]

    def frontier(self) -> pd.DataFrame:
        """What quality to expect at other budgets, drawn from what is known now. Spends nothing.

        Returns:
            A row per budget, in ascending order: `budget_usd`; `quality`, the expected mean over all rows;
            `low` and `high`, its 90 % interval; `supported`, False where too few answers of the tiers that
            it needs were seen; `measured`, the same in all rows, False where nothing measures the answers, so
            that the numbers put budgets in order and mean no more. In `attrs`: `budget_usd` (the job's own),
            `spent_usd`, `next_usd_gain` (right answers more that one further dollar is expected to bring),
            `labels`, and `measured`.

        Examples:
            >>> frontier = cascade_batch.job("example").frontier()
            >>> frontier.columns.tolist()
            ['budget_usd', 'quality', 'low', 'high', 'supported', 'measured']
        """
        import pandas as pd

        from cascade_batch.engine.frontier import job_frontier

        with self._services() as service:
            found = job_frontier(service.engine, self._name)
        columns = ["budget_usd", "quality", "low", "high", "supported"]
        frame = pd.DataFrame(found["points"], columns=columns)
        frame["measured"] = bool(found["measured"])
        frame.attrs = {key: value for key, value in found.items() if key != "points"}
        return frame

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the job's report: one HTML page, complete in itself.

        Args:
            path: Where to; None: the job's name with the ending .html, in the working folder.

        Returns:
            Where it is.

        Raises:
            UsageError: The folder is missing, or the ending is neither .html nor .htm.
        """
        from cascade_batch.client.reading import page_path, read_page, require_html, write_page

        if path is not None:
            require_html(Path(path))
        with self._services() as service:
            page = read_page(service.engine, self._name)
            place = page_path(self._name) if path is None else Path(path)
            write_page(page, place)
        return place

    @known_arguments()
    def audit(self, *, bill_usd: str | int | float | Decimal | None = None) -> Audit:
        """Add the job's ledger up again and hold it against answers, leases and rows.

        Args:
            bill_usd: Dollars that the providers billed for it, to hold it against those, too.

        Returns:
            What was found: `is_ok`, `differences`, a sentence each, and the sums, in dollars.

        Raises:
            UsageError: The bill is no amount of dollars, or the job is being deleted.

        Examples:
            >>> audit = cascade_batch.job("example").audit()
            >>> audit.is_ok, audit.differences, audit.rows
            (True, [], 4)
        """
        from cascade_batch.client.audit import audit_of
        from cascade_batch.client.reading import read_audit

        bill_nanousd = None if bill_usd is None else nanousd(bill_usd)
        with self._services() as service:
            found = read_audit(service.engine, self._name, bill_nanousd=bill_nanousd)
        return audit_of(self._name, *found)

    def __str__(self) -> str:
        from cascade_batch.client.telling import job_text

        try:
            return job_text(self.progress())
        except CascadeError as error:
            return f"{self._name}: {error.message}"

    def __repr__(self) -> str:
        # At Python's own prompt it is what shows a job. Elsewhere, as in a debugger, it asks nobody.
        return str(self) if hasattr(sys, "ps1") else f"cascade_batch.job({self._name!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # from IPython
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from cascade_batch.client.markup import error_html

        try:
            return self.progress()._repr_html_()
        except CascadeError as error:
            return error_html(self._name, error)

    def _ipython_display_(self) -> None:
        """Show nothing where `wait` has just shown the table in the same cell; else leave it to the above."""
        shell = notebook()
        if shell is None or shell.execution_count != self._shown_in_cell:
            raise NotImplementedError

    def _show(self, progress: bool | Show) -> Show:
        shell = notebook()
        if progress is True and shell is not None:
            self._shown_in_cell = shell.execution_count
        return make_show(progress)

    def _over(self, seen: Progress, *, is_shown: bool) -> Job:
        if seen.status is JobState.FAILED:
            with python_words():
                raise JobFailedError(
                    f"Job {self._name!r} failed: {seen.reason or 'no reason is known'}",
                    hint=as_sentence(f"once that is mended, {AGAIN}")
                    if seen.reading
                    else "Once that is mended, job.resume() goes on with it.",
                )
        said = advice(seen)
        if said and not is_shown:
            text = "; ".join(said)
            warn(f"Job {self._name!r} is {seen.status}: {text}.")
        return self

    def _labels(
        self, connection: sa.Connection, job: engine_jobs.Job, row_nos: Sequence[int]
    ) -> pd.Index[Any]:
        """The index for rows of these numbers."""
        import pandas as pd

        from cascade_batch.client.frame_index import plain_labels

        labels = self._index
        if labels is None and job.spec.frame_index == "plain":
            labels = plain_labels(connection, job.job_id)
            if not job.reading:
                self._index = labels
        if labels is not None:
            # As a range where it is one: it takes no memory.
            is_whole = len(row_nos) == len(labels)
            return labels if is_whole else labels.take(row_nos)
        if job.spec.frame_index == "own":
            warn(
                f"Job {self._name!r} was submitted from a DataFrame with an index of its own, which is not"
                " known here: these rows have their numbers as index, and df.join would match others or none."
                f" Give the DataFrame, cascade_batch.job({self._name!r}, df), or join by custom_id."
            )
        is_whole = len(row_nos) == job.rows_total
        return pd.RangeIndex(job.rows_total) if is_whole else pd.Index(list(row_nos), dtype="int64")
