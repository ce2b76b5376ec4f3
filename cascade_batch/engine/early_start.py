"""Submit, and begin to draft while the data set is still being read.

For data that takes long to read, or that somebody makes and pipes in as it comes. `submit_job` stores all or
nothing: whatever is wrong with the last line is found before a cent is spent. This can't be had both ways, so
that it is for the user to ask for:

* **What is bought early** is one answer a row, on the tier where its worst case is lowest: what the ring
  fence is for. All else waits for the planner, which comes when the whole job can be seen. Rows are released
  only as far ahead as keeps workers busy (`AHEAD_ROWS`), so that the planner has its say on most rows of data
  that is read faster than it is drafted. A few megabytes that are read within a second are planned as a
  whole.
* **Money.** A batch of rows is stored only if the budget covers each of them at worst case, beside all that
  was spent, reserved and fenced before. What is free beyond that is not touched.
* **What goes wrong later** (a line that can't be used, a budget that is too small, Ctrl-C, SIGKILL) cancels
  the job, and its answers stay. A job of half a data set is never gone on with: the data is submitted again,
  under another name, and takes over what was bought. This is why it needs the cache.
* **Who reads** holds an advisory lock for as long. Whoever finds a job that is being read, and gets its lock,
  knows that its reader is gone (`half_read`).

Duplicates are known for what they are as soon as they are read, and are not asked; whom they follow is
stored at the end. What earlier jobs bought is looked up once for each row: before it is asked, before its
money is found to be missing, or together with many others. Workers take their turns meanwhile: the balance is
locked only when all is found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobSpec, JobState
from cascade_batch.domain.money import format_usd
from cascade_batch.engine.batches import Batch, Batches
from cascade_batch.engine.drafts import Asked, release_drafts
from cascade_batch.engine.earlier_answers import EarlierAnswers, find_earlier_answers, take_answers
from cascade_batch.engine.followers import store_followers
from cascade_batch.engine.gold_warnings import gold_warnings
from cascade_batch.engine.half_read import READERS, cancel_unread
from cascade_batch.engine.ingest import Ingest, copy_rows, packed_rows
from cascade_batch.engine.jobs import Job, find_job, notify_jobs_changed
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.engine.request_keys import SeenKeys
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_columns
from cascade_batch.engine.submit import (
    PLAN_AT_ONCE_ROWS,
    Submission,
    describe,
    insert_job,
    open_job,
    store_keys,
)
from cascade_batch.errors import BudgetError, CascadeError, JobNotFoundError, UsageError
from cascade_batch.ledger import Balance, move_ring_fence, open_account, read_balance
from cascade_batch.settings import settings
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.partitions import attach_partitions, create_loading_table
from cascade_batch.store.result_view import drop_result_view
from cascade_batch.store.tables import JOB
from cascade_batch.words import argument, choose, place

logger = logging.getLogger(__name__)

AHEAD_ROWS = PLAN_AT_ONCE_ROWS
"""Rows that may wait for workers while more are read: seconds of work for a fast worker."""
LOOK_UP_ROWS = 20_000
"""Rows that are looked up at once, as each time is a pass over what earlier jobs asked."""
READING = "Its data set is being read; drafts have begun."
_ANY_NUMBER = 2**31 - 1
_WAITING = (
    "SELECT coalesce(sum(row_count), 0)::bigint FROM cascade_store.chunk"
    " WHERE job_id = :job AND state <> 'done'"
)


def submit_early(
    engine: sa.Engine,
    spec: JobSpec,
    read: Reader,
    publisher: Publisher,
    *,
    planner: Planner = PLANNER,
    on_start: Callable[[str], None] | None = None,
) -> Submission:
    """Store a job, and have its first rows drafted while the others are read. Returns when all are read.

    Args:
        read: Reads the data set; see `submit_job`.
        publisher: Wakes workers for what is released meanwhile.
        on_start: Called with the job's name as soon as it can be seen.

    Raises:
        JobExistsError: The name is taken.
        BudgetError: The budget can't answer every row that was read so far. Rows before that may be drafted.
        DataError: A row can't be asked; names file and line. Rows before that may be drafted.
        UsageError: The job wants no cache, or no cheap drafts; or it was cancelled by somebody meanwhile.
        JobNotFoundError: It was deleted by somebody meanwhile.
    """
    if not spec.cache:
        raise UsageError(
            "Without the cache, no draft can be bought before all of the data is read: what was bought before"
            " a mistake is found would be lost.",
            hint=choose(
                command_line="Leave out --no-cache (cache: false), or --start-early.",
                python="Leave out cache=False, or start_early=True.",
            ),
        )
    if spec.policy == "dearest":
        raise UsageError(
            "The policy 'dearest' asks no cheap tier that it can do without, and what is bought before all of"
            " the data is read are cheap drafts.",
            hint=f"Choose another {argument('policy')}, or leave out {argument('start_early', True)}.",
        )
    with engine.connect() as connection:
        return _EarlyStart(connection, spec, publisher).run(read, planner, on_start)


class _EarlyStart:
    """One submission; its connection holds the reader's lock."""

    def __init__(self, connection: sa.Connection, spec: JobSpec, publisher: Publisher) -> None:
        self._connection = connection
        self._spec = spec
        self._publisher = publisher
        self._ingest = Ingest()
        self._bounds = RowBounds(spec)
        self._seen = SeenKeys()
        self._job_id = 0
        self._stored_rows = 0
        self._asked_rows = 0
        self._needed_nanousd = 0
        self._unlooked: list[Asked] = []
        self._shown: dict[str, str] = {}

    def run(
        self, read: Reader, planner: Planner, on_start: Callable[[str], None] | None
    ) -> Submission:
        connection, spec = self._connection, self._spec
        begun = connection.begin()
        try:
            raw = raw_connection(connection)
            self._job_id = insert_job(connection, spec)
            create_loading_table(raw, self._job_id)
            rows = packed_rows(spec, self._job_id, read, self._ingest, self._bounds)
            with Batches(rows, self._bounds) as batches:
                batch = batches.next()
                while not batch and not batch.is_last:
                    batch = batches.next()
                if batch.is_last:
                    copy_rows(raw, self._job_id, batch.rows, is_new_table=True)
                    submission = open_job(
                        connection, self._job_id, spec, self._ingest, self._bounds, planner
                    )
                    begun.commit()
                    return submission
                notices = self._open(batch)
                begun.commit()
                return self._go_on(batches, notices, on_start)
        finally:
            if begun.is_active:
                begun.rollback()

    def _open(self, batch: Batch) -> list[ChunkNotice]:
        connection, job_id = self._connection, self._job_id
        raw = raw_connection(connection)
        copy_rows(raw, job_id, batch.rows, is_new_table=True)
        attach_partitions(raw, job_id)
        store_keys(raw, job_id, self._bounds)
        open_account(
            connection,
            job_id=job_id,
            budget_nanousd=self._spec.budget_nanousd,
            ring_fence_nanousd=0,
        )
        # The thread that reads is further already, and may meet new columns at any time.
        columns = dict(self._ingest.columns)
        kinds = {name: "string" if kind == "null" else kind for name, kind in columns.items()}
        self._shown = kinds
        describe(connection, job_id, self._spec, kinds, rows=len(batch))
        connection.execute(
            sa.update(JOB).where(JOB.c.job_id == job_id).values(reading=True, reason=READING)
        )
        connection.execute(
            sa.text("SELECT pg_advisory_lock(:space, :job)"), {"space": READERS, "job": job_id}
        )
        notify_jobs_changed(connection)
        return self._take(find_job(connection, self._spec.name), batch)

    def _go_on(
        self,
        batches: Batches,
        notices: list[ChunkNotice],
        on_start: Callable[[str], None] | None,
    ) -> Submission:
        connection = self._connection
        try:
            self._publisher.publish_chunks(notices)
            if on_start is not None:
                on_start(self._spec.name)
            batch = Batch()
            while not batch.is_last:
                batch = batches.next()
                with connection.begin():
                    job = self._wanted()
                    if batch:
                        raw = raw_connection(connection)
                        copy_rows(raw, self._job_id, batch.rows, is_new_table=False)
                    notices = self._take(job, batch)
                self._publisher.publish_chunks(notices)
            with connection.begin():
                self._close()
        except BaseException as error:
            self._break_off(error)
            raise
        finally:
            self._unlock()
        rows = self._ingest.rows
        return Submission(
            self._job_id,
            self._spec.name,
            rows,
            self._needed_nanousd,
            notices=[],
            saved_rows=rows - self._asked_rows,
            warnings=gold_warnings(self._spec, self._ingest.gold),
        )

    def _wanted(self) -> Job:
        """The job, locked.

        Raises:
            UsageError: It was cancelled, or has failed.
            JobNotFoundError: It is gone, or soon will be.
        """
        name = self._spec.name
        job = find_job(self._connection, name, lock=True)
        if job.job_id != self._job_id or job.deleting:
            raise JobNotFoundError(f"Job {name!r} was deleted while its data set was being read.")
        if job.state.is_over:
            became = "has failed" if job.state is JobState.FAILED else f"was {job.state}"
            why = f": {job.reason}" if job.reason else "."
            raise UsageError(f"Job {name!r} {became} while its data set was being read{why}")
        return job

    def _take(self, job: Job, batch: Batch) -> list[ChunkNotice]:
        """Fence the money of rows that were just stored, and have them drafted unless enough are."""
        if not batch and not batch.is_last:
            return []
        connection, job_id = self._connection, self._job_id
        rows = range(self._stored_rows, self._stored_rows + len(batch))
        asked = self._asked(batch, rows)
        self._unlooked.append(asked)
        waiting = connection.execute(sa.text(_WAITING), {"job": job_id}).scalar_one()
        releases = waiting < AHEAD_ROWS and job.state is not JobState.PAUSED
        found: list[EarlierAnswers] = []
        looks_up = (
            releases
            or batch.is_last
            or asked.total_nanousd > _left(read_balance(connection, job_id))
            or sum(map(len, self._unlooked)) >= LOOK_UP_ROWS
        )
        if looks_up:
            found = self._look_up()
        balance = read_balance(connection, job_id, lock=True)
        taken = take_answers(raw_connection(connection), job_id, self._spec, found)
        needed = asked.total_nanousd - sum(
            part.where(np.isin(part.row_no, taken)).total_nanousd for part in self._unlooked
        )
        self._require_budget(needed, balance, rows)
        connection.execute(
            sa.update(JOB).where(JOB.c.job_id == job_id).values(rows_total=rows.stop)
        )
        move_ring_fence(connection, job_id, needed)
        notices = []
        if releases:
            notices = release_drafts(connection, job, asked.where(~np.isin(asked.row_no, taken)))
        if looks_up:
            self._unlooked.clear()
        self._stored_rows = rows.stop
        self._asked_rows += len(asked) - len(taken)
        self._needed_nanousd += needed
        return notices

    def _asked(self, batch: Batch, rows: range) -> Asked:
        is_new = self._seen.are_new(self._ingest.same.keys_of(rows))
        return Asked.on_lowest(rows, batch.worst_nanousd).where(is_new)

    def _look_up(self) -> list[EarlierAnswers]:
        """What earlier jobs bought for the rows that nobody looked up before."""
        rows = np.concatenate([part.row_no for part in self._unlooked])
        if not rows.size:
            return []
        raw = raw_connection(self._connection)
        days = settings().cache_days
        return list(find_earlier_answers(raw, self._job_id, days=days, rows=rows))

    def _require_budget(self, needed: int, balance: Balance, rows: range) -> None:
        if needed <= max(_left(balance), 0):
            return
        covers = (
            f"covers the first {counted(rows.start, 'row')}, but not all of the next {len(rows):,}"
            if rows.start
            else f"does not cover the first {counted(len(rows), 'row')}"
        )
        raise BudgetError(
            f"A budget of {format_usd(balance.budget_nanousd)} {covers}, at worst case on their cheapest"
            " tier.",
            hint=f"Give a larger {place('budget')}, fewer rows with {place('limit')}, or lower the cheapest"
            " tier's max_output_tokens, which the worst case counts in full.",
        )

    def _close(self) -> None:
        """All is read: the planner may come."""
        connection, job_id, ingest = self._connection, self._job_id, self._ingest
        raw = raw_connection(connection)
        has_new_columns = ingest.columns != self._shown
        if has_new_columns:
            # Columns of a view can be added to its end, and nothing else. Before the job is locked, as
            # somebody may be looking at the view for as long as they like, and workers want the job.
            drop_result_view(raw, self._spec.name)
        self._wanted()
        require_columns(self._spec, ingest.columns)
        store_followers(raw, job_id, *ingest.same.find())
        if has_new_columns:
            describe(connection, job_id, self._spec, ingest.columns, rows=ingest.rows)
        connection.execute(
            sa.update(JOB)
            .where(JOB.c.job_id == job_id)
            .values(
                reading=False,
                reason=sa.func.nullif(JOB.c.reason, READING),
                # The planner is wanted at once, however many drafts are still open.
                plan_below=_ANY_NUMBER,
            )
        )
        notify_jobs_changed(connection)

    def _break_off(self, error: BaseException) -> None:
        """Cancel the job, unless somebody has; where that fails, the sweeper does it."""
        try:
            with self._connection.begin():
                cancel_unread(self._connection, self._job_id, self._spec.name, _why(error))
        except (DBAPIError, JobNotFoundError):
            logger.warning("job %s could not be cancelled by its reader", self._spec.name)
        if isinstance(error, JobNotFoundError):
            return
        if isinstance(error, CascadeError):
            error.hint = f"{error.hint} {_KEPT}" if error.hint else _KEPT
        else:
            error.add_note(_KEPT)

    def _unlock(self) -> None:
        key = {"space": READERS, "job": self._job_id}
        try:
            with self._connection.begin():
                self._connection.execute(sa.text("SELECT pg_advisory_unlock(:space, :job)"), key)
        except DBAPIError:
            # The lock goes with the session.
            self._connection.invalidate()


def _left(balance: Balance) -> int:
    """What further rows may need, in nano-dollars."""
    return balance.free_nanousd - balance.ring_fence_nanousd


def _why(error: BaseException) -> str:
    if isinstance(error, CascadeError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    # What others say may hold a secret (an address with a key, say), and the reason is stored and sent.
    return f"it raised {type(error).__name__}"


_KEPT = (
    "Some of the job was drafted while its data was read, and is kept: submit all of the data again, under"
    " another name, and those answers are taken over at no cost."
)
