"""Submit: from a stream of records to a stored job, in one transaction, before a cent is spent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cascade_batch.domain.job import JobSpec, JobState
from cascade_batch.engine.earlier_answers import find_earlier_answers, take_answers
from cascade_batch.engine.evidence import JobEvidence
from cascade_batch.engine.followers import store_followers
from cascade_batch.engine.gold_warnings import gold_warnings
from cascade_batch.engine.ingest import Ingest, Raw, copy_rows, packed_rows
from cascade_batch.engine.job_view import standing_of
from cascade_batch.engine.jobs import find_job, notify_jobs_changed
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.engine.release import note_planning, release_wave, write_decisions
from cascade_batch.engine.request_keys import SameRows
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_budget, require_columns
from cascade_batch.errors import DataError, JobExistsError
from cascade_batch.ledger import open_account, read_balance
from cascade_batch.notifications.outbox import store_targets
from cascade_batch.settings import settings
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.partitions import attach_partitions, create_loading_table
from cascade_batch.store.result_view import create_result_view
from cascade_batch.store.tables import JOB, JOB_TIER
from cascade_batch.words import argument, command

PLAN_AT_ONCE_ROWS = 50_000
"""Rows up to which the first wave is planned, in a moment, before the job can be seen. A larger job is left
to the planner's process, which has to read all of it anyway, and has the memory for it."""
_STILL_NEEDED = """
SELECT coalesce(sum((SELECT min(w) FROM unnest(r.worst_nanousd) w)), 0)::bigint, count(*)
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s
   AND NOT EXISTS (SELECT FROM cascade_store.follower f WHERE f.job_id = %(job)s AND f.row_no = r.row_no)
   AND NOT EXISTS (SELECT FROM cascade_store.answer a WHERE a.job_id = %(job)s AND a.row_no = r.row_no)
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored job, to be made known now that it is committed: by `notices` of its first chunks, or, where
    there are none, by a message to the planner.

    Attributes:
        rows: All its rows.
        worst_case_nanousd: What those that have to be asked cost at worst, each on its cheapest tier.
        saved_rows: Rows that need not be asked: an earlier job (a pilot, say) answered the very same request,
            or an earlier row makes it.
        warnings: What looks wrong in the data but may be meant, a complete sentence each.
    """

    job_id: int
    name: str
    rows: int
    worst_case_nanousd: int
    notices: list[ChunkNotice]
    saved_rows: int = 0
    warnings: tuple[str, ...] = ()


def submit_job(
    engine: sa.Engine, spec: JobSpec, read: Reader, *, planner: Planner = PLANNER
) -> Submission:
    """Store a job: its rows, its account and, unless it is large, the chunks of its first wave.

    Args:
        read: Reads the data set, in order, and leaves out or raises for what `check` refuses
            (`functools.partial(read_records, path, …)`). An error that it raises leaves nothing stored.

    Raises:
        JobExistsError: The name is taken.
        BudgetError: The budget can't answer every row at worst case on its cheapest tier.
        DataError: A row can't be asked; names file and line.
    """
    with engine.begin() as connection:
        job_id = insert_job(connection, spec)
        raw = raw_connection(connection)
        create_loading_table(raw, job_id)
        ingest = Ingest()
        bounds = RowBounds(spec)
        copy_rows(raw, job_id, packed_rows(spec, job_id, read, ingest, bounds), is_new_table=True)
        return open_job(connection, job_id, spec, ingest, bounds, planner)


def open_job(
    connection: sa.Connection,
    job_id: int,
    spec: JobSpec,
    ingest: Ingest,
    bounds: RowBounds,
    planner: Planner,
) -> Submission:
    """Make a job of rows that were all loaded; for the rest, see `submit_job`."""
    raw = raw_connection(connection)
    if ingest.rows == 0:
        raise DataError("there is not a single usable row", source=spec.data)
    require_columns(spec, ingest.columns)
    attach_partitions(raw, job_id)
    minimum_nanousd = ingest.cheapest_nanousd
    saves = False
    saved_rows = 0
    if spec.cache:
        store_keys(raw, job_id, bounds)
        saves = _save(raw, job_id, spec, ingest)
    if saves:
        minimum_nanousd, needed = _still_needed(raw, job_id)
        saved_rows = ingest.rows - needed
    require_budget(
        spec,
        rows=ingest.rows,
        minimum_nanousd=minimum_nanousd,
        # Which of the rows can be afforded is not known where some of them cost nothing.
        affordable_rows=0 if saves else ingest.affordable_rows,
        saved_rows=saved_rows,
    )
    spec = describe(connection, job_id, spec, ingest.columns, rows=ingest.rows)
    open_account(
        connection,
        job_id=job_id,
        budget_nanousd=spec.budget_nanousd,
        ring_fence_nanousd=minimum_nanousd,
    )
    notices = []
    if ingest.rows <= PLAN_AT_ONCE_ROWS:
        notices = _release_first_wave(connection, spec, planner, taken=saves)
    notify_jobs_changed(connection)
    return Submission(
        job_id,
        spec.name,
        ingest.rows,
        minimum_nanousd,
        notices,
        saved_rows,
        gold_warnings(spec, ingest.gold),
    )


def describe(
    connection: sa.Connection, job_id: int, spec: JobSpec, columns: Mapping[str, str], *, rows: int
) -> JobSpec:
    """Store how many rows there are, and their columns, and make the job's view of them.

    Args:
        columns: Input column -> its JSON type over all rows.

    Returns:
        The specification with its columns.
    """
    spec = spec.model_copy(update={"columns": tuple(columns)})
    connection.execute(
        sa.update(JOB).where(JOB.c.job_id == job_id).values(rows_total=rows, **_stored(spec))
    )
    create_result_view(
        raw_connection(connection),
        job_id=job_id,
        name=spec.name,
        columns=columns,
        json_schema=spec.output.json_schema,
    )
    return spec


def _stored(spec: JobSpec) -> dict[str, object]:
    """The specification twice: to be asked of, and in its own order of keys, which jsonb does not keep."""
    stored = spec.model_dump(mode="json", by_alias=True, exclude={"notify"})
    return {"spec": stored, "spec_as_written": stored}


def insert_job(connection: sa.Connection, spec: JobSpec) -> int:
    """Store a job without its rows.

    Raises:
        JobExistsError: The name is taken.
    """
    insert = sa.insert(JOB).values(name=spec.name, **_stored(spec)).returning(JOB.c.job_id)
    try:
        job_id: int = connection.execute(insert).scalar_one()
    except IntegrityError:
        raise _taken(spec.name, connection.engine) from None
    store_targets(connection, job_id, spec.notify)
    connection.execute(
        sa.insert(JOB_TIER),
        [
            {"job_id": job_id, "tier_no": no, "name": tier.name, "model": tier.model}
            for no, tier in enumerate(spec.tiers)
        ],
    )
    return job_id


def _taken(name: str, engine: sa.Engine) -> JobExistsError:
    """What to do about a name that is taken: a job of which only a part was read can't go on."""
    message = f"There is a job called {name!r} already."
    other = f"hoose another {argument('name')}"
    # The transaction that met the name is over.
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(JOB.c.state, JOB.c.reading).where(JOB.c.name == name)
        ).one_or_none()
    if found is not None and found.reading and found.state in (JobState.CANCELLED, JobState.FAILED):
        return JobExistsError(
            f"{message} It holds only the first part of its data set.",
            hint=f"C{other}: what that job bought is taken over at no cost.",
        )
    go_on = command("resume", name, call="resume()")
    return JobExistsError(message, hint=f"Go on with it by `{go_on}`, or c{other}.")


def store_keys(raw: Raw, job_id: int, bounds: RowBounds) -> None:
    """Store by what the answers of each tier can be found again."""
    for tier_no, (key_no, print_) in enumerate(
        zip(bounds.key_no, bounds.fingerprints(), strict=True)
    ):
        raw.execute(
            "UPDATE cascade_store.job_tier SET key_no = %s, fingerprint = %s"
            " WHERE job_id = %s AND tier_no = %s",
            [key_no, print_, job_id, tier_no],
        )


def _save(raw: Raw, job_id: int, spec: JobSpec, ingest: Ingest) -> bool:
    """Find what need not be bought; whether there is anything."""
    followers, leaders = ingest.same.find()
    ingest.same = SameRows()
    store_followers(raw, job_id, followers, leaders)
    found = find_earlier_answers(raw, job_id, days=settings().cache_days)
    return bool(take_answers(raw, job_id, spec, found).size or followers.size)


def _still_needed(raw: Raw, job_id: int) -> tuple[int, int]:
    """Worst cases, each on its cheapest tier, of the rows that have to be asked, and how many these are."""
    found = raw.execute(_STILL_NEEDED, {"job": job_id}).fetchone()
    return (int(str(found[0])), int(str(found[1]))) if found else (0, 0)


def _release_first_wave(
    connection: sa.Connection, spec: JobSpec, planner: Planner, *, taken: bool
) -> list[ChunkNotice]:
    """Plan while the job is stored, so that workers begin at once. Nobody else can see it yet."""
    started = time.monotonic()
    job = find_job(connection, spec.name)
    raw = raw_connection(connection)
    known = JobEvidence(raw, job.job_id, job.spec)
    if taken:
        known.update(raw)
    no_tier_stopped = np.zeros(len(spec.tiers), dtype=np.bool_)
    balance = read_balance(connection, job.job_id)
    standing = standing_of(known, job.spec, no_tier_stopped, balance)
    wave = planner.plan_wave(standing.shown, spec.policy, seed=spec.seed, wave=1)
    wave = standing.of_all(wave)
    write_decisions(connection, job.job_id, 1, wave)
    new_chunks, notices = release_wave(connection, job, standing, wave)
    took_s = time.monotonic() - started
    # Where nothing was asked, as all is answered already, no call was missed for want of money.
    calls = 0 if new_chunks else None
    note_planning(connection, job, calls=calls, open_chunks=new_chunks, took_s=took_s)
    return notices
