"""Submit, and begin to draft while the data set is still being read.

For data that takes long to read, or that somebody makes and pipes in as it comes. `submit_job` stores all or
nothing: whatever is wrong with the last line is found before a cent is spent. This can't be had both ways, so
that it is for the user to ask for:

* **What is bought early** is one answer a row, on the tier where its worst case is lowest: what the ring
  fence is for. All else waits for the planner, which comes when the whole job can be seen. Rows are released
  only as far ahead as keeps workers busy (`AHEAD_ROWS`), so that the planner has its say on most rows of data
  that is read faster than it is drafted. Data that is read within a second is planned as a whole.
* **Money.** A batch of rows is stored only if the budget covers each of them at worst case, beside all that
  was spent, reserved and fenced before. What is free beyond that is not touched.
* **What goes wrong later** (a line that can't be used, a budget that is too small, Ctrl-C, SIGKILL) cancels
  the job, and its answers stay. A job of half a data set is never gone on with: the data is submitted again,
  under another name, and takes over what was bought. This is why it needs the cache.
* **Who reads** holds an advisory lock for as long. Whoever finds a job that is being read, and gets its lock,
  knows that its reader is gone (`half_read`).

Duplicates are known for what they are as soon as they are read, and are not asked; whom they follow is
stored at the end. Answers of earlier jobs are looked up for the rows that are about to be asked, and for all
others at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import DBAPIError

from cascade_batch.domain.job import JobSpec, JobState
from cascade_batch.domain.money import format_usd
from cascade_batch.engine.batches import Batch, Batches
from cascade_batch.engine.chunks import Work, cut_into_chunks, insert_chunks
from cascade_batch.engine.earlier_answers import take_earlier_answers
from cascade_batch.engine.gold_warnings import gold_warnings
from cascade_batch.engine.half_read import OVER, READERS, cancel_unread
from cascade_batch.engine.ingest import Ingest, copy_rows, row_lines
from cascade_batch.engine.jobs import Job, find_job, notify_jobs_changed
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.engine.release import write_decisions
from cascade_batch.engine.request_keys import SeenKeys
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_columns
from cascade_batch.engine.submit import (
    PLAN_AT_ONCE_ROWS,
    Submission,
    describe,
    insert_job,
    open_job,
    save,
    store_keys,
)
from cascade_batch.errors import BudgetError, CascadeError, JobNotFoundError, UsageError
from cascade_batch.ledger import move_ring_fence, open_account, read_balance
from cascade_batch.policy.view import Action, Reason, Wave
from cascade_batch.settings import settings
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.partitions import attach_partitions, create_loading_table
from cascade_batch.store.result_view import drop_result_view
from cascade_batch.store.tables import JOB
from cascade_batch.words import choose, place

logger = logging.getLogger(__name__)

AHEAD_ROWS = PLAN_AT_ONCE_ROWS
"""Rows that may wait for workers while more are read: seconds of work for a fast worker."""
READING = "Its data set is being read; drafts have begun."
_WAVE = """
INSERT INTO cascade_store.wave (job_id, wave, price_of_money, free_nanousd, purchases, extra)
VALUES (:job, 1, 0, :free, :purchases, '{"while_reading": true}')
    ON CONFLICT (job_id, wave) DO UPDATE SET purchases = wave.purchases + excluded.purchases
"""
_ANY_NUMBER = 2**31 - 1
_WAITING = (
    "SELECT coalesce(sum(row_count), 0)::bigint FROM cascade_store.chunk"
    " WHERE job_id = :job AND state <> 'done'"
)
_ANSWERED = (
    "SELECT DISTINCT row_no FROM cascade_store.answer"
    " WHERE job_id = :job AND row_no >= :start AND row_no < :stop"
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
        UsageError: The job wants no cache; or it was cancelled by somebody meanwhile.
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
        self._needed_nanousd = 0
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
            lines = row_lines(spec, self._job_id, read, self._ingest, self._bounds)
            with Batches(lines, self._bounds) as batches:
                batch = batches.next()
                while not batch and not batch.is_last:
                    batch = batches.next()
                if batch.is_last:
                    copy_rows(raw, self._job_id, batch.lines, is_new_table=True)
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
        copy_rows(raw, job_id, batch.lines, is_new_table=True)
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
                        copy_rows(raw, self._job_id, batch.lines, is_new_table=False)
                    notices = self._take(job, batch)
                self._publisher.publish_chunks(notices)
            with connection.begin():
                self._close()
        except BaseException as error:
            self._break_off(error)
            raise
        finally:
            self._unlock()
        return Submission(
            self._job_id,
            self._spec.name,
            self._ingest.rows,
            self._needed_nanousd,
            [],
            warnings=gold_warnings(self._spec, self._ingest.gold),
        )

    def _wanted(self) -> Job:
        """The job, locked.

        Raises:
            UsageError: It was cancelled, has failed, or is gone.
        """
        job = find_job(self._connection, self._spec.name, lock=True)
        if job.job_id != self._job_id or job.state in OVER or job.deleting:
            raise UsageError(
                f"Job {job.name!r} was {job.state} while its data set was being read"
                + (f": {job.reason}" if job.reason else "."),
            )
        return job

    def _take(self, job: Job, batch: Batch) -> list[ChunkNotice]:
        """Fence the money of rows that were just stored, and have them drafted unless enough are."""
        if not batch:
            return []
        connection, job_id = self._connection, self._job_id
        start = self._stored_rows
        rows = range(start, start + len(batch))
        worst = batch.worst_nanousd
        tier_no = worst.argmin(axis=1)
        lowest = worst.min(axis=1)
        is_new = self._seen.are_new(self._ingest.same.keys_of(rows))
        needed = int(lowest[is_new].sum())
        balance = read_balance(connection, job_id, lock=True)
        self._require_budget(
            needed, balance.free_nanousd - balance.ring_fence_nanousd, balance.budget_nanousd, rows
        )
        self._needed_nanousd += needed
        connection.execute(
            sa.update(JOB).where(JOB.c.job_id == job_id).values(rows_total=rows.stop)
        )
        notices = []
        waiting = connection.execute(sa.text(_WAITING), {"job": job_id}).scalar_one()
        if waiting < AHEAD_ROWS and job.state is not JobState.PAUSED:
            self._look_up(rows, is_new)
            asked = np.flatnonzero(is_new)
            notices = self._release(
                job, (asked + start).astype(np.int32), tier_no[asked], lowest[asked]
            )
        move_ring_fence(connection, job_id, int(lowest[is_new].sum()))
        self._stored_rows = rows.stop
        return notices

    def _require_budget(self, needed: int, left: int, budget: int, rows: range) -> None:
        if needed <= left:
            return
        raise BudgetError(
            f"A budget of {format_usd(budget)} covers the first {rows.start:,} rows, but not all of the next"
            f" {len(rows):,}, at worst case on their cheapest tier.",
            hint=f"Give a larger {place('budget')}, fewer rows with {place('limit')}, or lower the cheapest"
            " tier's max_output_tokens, which the worst case counts in full.",
        )

    def _look_up(self, rows: range, is_new: NDArray[np.bool_]) -> None:
        """Take over what earlier jobs bought for these rows; they are not new any more."""
        raw = raw_connection(self._connection)
        days = settings().cache_days
        if take_earlier_answers(raw, self._job_id, self._spec, days=days, rows=rows):
            found = self._connection.execute(
                sa.text(_ANSWERED), {"job": self._job_id, "start": rows.start, "stop": rows.stop}
            ).scalars()
            is_new[np.array(found.all(), dtype=np.int64) - rows.start] = False

    def _release(
        self,
        job: Job,
        row_no: NDArray[np.int32],
        tier_no: NDArray[np.intp],
        lowest: NDArray[np.int64],
    ) -> list[ChunkNotice]:
        count = len(row_no)
        if not count:
            return []
        wave = Wave(
            row_no=row_no,
            tier_no=tier_no.astype(np.int16),
            action=np.full(count, Action.ANSWER, dtype=np.int8),
            reason=np.full(count, Reason.START, dtype=np.int8),
            gain=np.zeros(count, dtype=np.float32),
            expected_nanousd=lowest,
            draw_probability=np.ones(count, dtype=np.float32),
            price_of_money=0.0,
        )
        connection = self._connection
        write_decisions(connection, job.job_id, 1, wave)
        work = Work(
            row_no=row_no,
            tier_no=wave.tier_no,
            action=wave.action,
            is_first=np.ones(count, dtype=np.bool_),
            promised_nanousd=np.zeros(count, dtype=np.int64),
            fence_part_nanousd=lowest,
            is_usual=np.ones(count, dtype=np.bool_),
        )
        free = read_balance(connection, job.job_id).free_nanousd
        values = {"job": job.job_id, "free": free, "purchases": count}
        connection.execute(sa.text(_WAVE), values)
        connection.execute(sa.update(JOB).where(JOB.c.job_id == job.job_id).values(waves=1))
        return insert_chunks(connection, job.name, cut_into_chunks(job, 1, work))

    def _close(self) -> None:
        """All is read: the planner may come."""
        connection, job_id, ingest = self._connection, self._job_id, self._ingest
        self._wanted()
        read_balance(connection, job_id, lock=True)
        require_columns(self._spec, ingest.columns)
        raw = raw_connection(connection)
        save(raw, job_id, self._spec, ingest)
        if ingest.columns != self._shown:
            # Columns of a view can be added to its end, and nothing else.
            drop_result_view(raw, self._spec.name)
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
        why = (
            error.message
            if isinstance(error, CascadeError)
            else f"{type(error).__name__}: {error}".removesuffix(": ")
        )
        try:
            with self._connection.begin():
                cancel_unread(self._connection, self._job_id, self._spec.name, why)
        except (DBAPIError, JobNotFoundError):
            logger.warning("job %s could not be cancelled by its reader", self._spec.name)
        if isinstance(error, CascadeError) and not isinstance(error, JobNotFoundError):
            error.hint = " ".join([*([error.hint] if error.hint else []), _KEPT])

    def _unlock(self) -> None:
        key = {"space": READERS, "job": self._job_id}
        try:
            with self._connection.begin():
                self._connection.execute(sa.text("SELECT pg_advisory_unlock(:space, :job)"), key)
        except DBAPIError:
            # The lock goes with the session.
            self._connection.invalidate()


_KEPT = (
    "Some of the job was drafted while its data was read, and is kept: submit all of the data again, under"
    " another name, and those answers are taken over at no cost."
)
