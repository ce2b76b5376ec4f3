"""A job as a Python program holds it: a name, and everything that can be asked of it or done to it."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_batch.client.controls import JobControls
from cascade_batch.client.looking import Sight, looker
from cascade_batch.client.progress import Progress, progress_of
from cascade_batch.client.python_words import python_words
from cascade_batch.client.waiting import Show, Waiting, make_show, notebook
from cascade_batch.domain.job import JobState
from cascade_batch.errors import CascadeError, JobFailedError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from cascade_batch.domain.job import Output
    from cascade_batch.ledger import AuditReport


class Job(JobControls):
    """One submission. It lives in the database: this is a handle, and losing it loses nothing.

    Made by `submit`, and found again by `job`. Every method asks the database anew, so that what it says is
    true now. In a notebook a job shows itself as a table.

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

    def wait(self, timeout_s: float | None = None, *, progress: bool | Show = True) -> Job:
        """Wait until the job is over. What interrupts the wait (Ctrl-C, say) leaves the job running.

        A paused job is not over: somebody may resume it.

        Args:
            timeout_s: Wait no longer than these seconds; None: as long as it takes.
            progress: Whether to show progress: in a notebook a table that changes in place, elsewhere a line
                of text on standard error every five seconds. A function is called with a `Progress` at every
                look (twice a second) instead.

        Returns:
            The job itself, finished or cancelled. Where the money ran out before every row had an answer, a
            warning says so.

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
                look = looker(service, self._name)
                while True:
                    seen, pause_s = waiting.see(look())
                    if pause_s is None:
                        return self._over(seen)
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
        with ExitStack() as stack:
            service = await asyncio.to_thread(stack.enter_context, self._services())
            look = looker(service, self._name)
            while True:
                seen, pause_s = waiting.see(await asyncio.to_thread(look))
                if pause_s is None:
                    return self._over(seen)
                await asyncio.sleep(pause_s)

    def results(self) -> pd.DataFrame:
        """The rows that are answered or failed, in the order of the input. Rows to come are left out.

        Where the job was submitted from a DataFrame by this very object, the result has its index, so that
        `df.join(job.results()[["value", "tier"]])` puts rows and answers side by side. Else the index is the
        row number, from 0.

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
        """
        import pandas as pd

        from cascade_batch.client.typed_results import results_frame

        table, output, rows_total = self._results()
        numbers = table.column("row_no").to_numpy()
        labels = self._labels(numbers)
        if labels is None:
            is_whole = len(numbers) == rows_total
            labels = pd.RangeIndex(rows_total) if is_whole else pd.Index(numbers)
        return results_frame(table, output, labels)

    def arrow(self) -> pa.Table:
        """The results as a pyarrow Table, with the columns of `results`.

        Choices are dictionary-encoded, lists of scalars are lists; what has no column type of its own is JSON
        text. Fields of an object have columns as well (`address_city`).

        Examples:
            >>> cascade_batch.job("example").arrow().column("row_no").to_pylist()
            [0, 1, 2, 3]
        """
        return self._results()[0]

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write the results to a .jsonl, .csv or .parquet file, in constant memory, whole or not at all.

        A Parquet file's columns have the types of `arrow`. Rows that failed are also written to a file beside
        it (`out.errors.jsonl` for `out.parquet`), a line of JSON each with `custom_id`, `reason`, `error`
        and the input `row`; without failures there is no such file afterwards.

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
            return export_job(connection, found.job_id, Path(path), found.spec.output).rows

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
            rows = list(failed_rows(connection, find_job(connection, self._name).job_id))
        numbers = [row.row_no for row in rows]
        index = self._labels(numbers)
        frame = pd.DataFrame(rows, columns=list(FailedRow._fields))
        frame.index = pd.Index(numbers, dtype="int64") if index is None else index
        return frame[["custom_id", "row_no", "line_no", "error", "reason"]]

    def frontier(self) -> pd.DataFrame:
        """What quality to expect at other budgets, drawn from what is known now. Spends nothing.

        Returns:
            A row per budget, in ascending order: `budget_usd`; `quality`, the expected mean over all rows;
            `low` and `high`, its 90 % interval; `supported`, False where too few answers of the tiers that
            it needs were seen. In `attrs`: `budget_usd` (the job's own), `spent_usd`, `next_usd_gain` (right
            answers more that one further dollar is expected to bring), `labels`, and `measured`, False
            where nothing measures the answers, so that the numbers put budgets in order and mean no more.

        Examples:
            >>> frontier = cascade_batch.job("example").frontier()
            >>> frontier.columns.tolist()
            ['budget_usd', 'quality', 'low', 'high', 'supported']
        """
        import pandas as pd

        from cascade_batch.engine.frontier import job_frontier

        with self._services() as service:
            found = job_frontier(service.engine, self._name)
        frame = pd.DataFrame(
            found["points"], columns=["budget_usd", "quality", "low", "high", "supported"]
        )
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

    def audit(self) -> AuditReport:
        """Add the job's ledger up again and hold it against answers, leases and rows.

        Returns:
            `is_ok`; `differences`, a sentence each; `balance` in nano-dollars; and how many `rows`,
            `answers`, `verdicts` and ledger `entries` there are.

        Raises:
            UsageError: The job is being deleted.

        Examples:
            >>> cascade_batch.job("example").audit().differences
            []
        """
        from cascade_batch.client.reading import read_audit

        with self._services() as service:
            return read_audit(service.engine, self._name)[0]

    def __repr__(self) -> str:
        return f"cascade_batch.job({self._name!r})"

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

    def _over(self, seen: Progress) -> Job:
        if seen.status is JobState.FAILED:
            with python_words():
                raise JobFailedError(
                    f"Job {self._name!r} failed: {seen.reason or 'no reason is known'}",
                    hint="Once that is mended, its method resume() goes on with it.",
                )
        if seen.rows_unfunded:
            warnings.warn(
                f"The money ran out before {seen.rows_unfunded:,} rows of job {self._name!r} had an answer;"
                " its method add_budget(usd) goes on.",
                stacklevel=3,
            )
        return self

    def _results(self) -> tuple[pa.Table, Output, int]:
        from cascade_batch.engine.jobs import find_job
        from cascade_batch.results import stream_results
        from cascade_batch.results.typed import results_table

        with self._services() as service, service.engine.connect() as connection:
            found = find_job(connection, self._name)
            output = found.spec.output
            table = results_table(stream_results(connection, found.job_id), output)
        return table, output, found.rows_total

    def _labels(self, row_nos: Sequence[int]) -> pd.Index[Any] | None:
        return None if self._index is None else self._index.take(row_nos)
