"""Making a wave so: decisions, chunks and the ring fence, in one transaction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg import sql

from cascade_batch.engine.chunks import Work, cut_into_chunks, insert_chunks
from cascade_batch.engine.due import next_planning
from cascade_batch.engine.job_view import Standing
from cascade_batch.engine.jobs import Job
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.ledger import Balance, move_ring_fence, read_balance
from cascade_batch.policy.view import Action, Bools, Reason, Wave
from cascade_batch.store.columns import write_columns
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.tables import JOB, JOB_TIER, WAVE

_DECISION = [
    ("job_id", "int4"),
    ("row_no", "int4"),
    ("tier_no", "int2"),
    ("action", "int2"),
    ("wave", "int4"),
    ("expected_nanousd", "int8"),
    ("gain", "float4"),
    ("draw_probability", "float4"),
    ("reason", "int2"),
]


def pick(wave: Wave, mask: Bools) -> Wave:
    """Some of a wave's purchases."""
    if mask.all():
        return wave
    return replace(
        wave,
        row_no=wave.row_no[mask],
        tier_no=wave.tier_no[mask],
        action=wave.action[mask],
        reason=wave.reason[mask],
        gain=wave.gain[mask],
        expected_nanousd=wave.expected_nanousd[mask],
        draw_probability=wave.draw_probability[mask],
    )


def completing_wave(standing: Standing, balance: Balance) -> Wave:
    """First answers that the planner did not ask for, although their money is fenced: each on the tier where
    its worst case is lowest. No job ends before there are none."""
    view = standing.view
    worst = np.where(view.barred, np.iinfo(np.int64).max, view.worst_nanousd)
    tier_no = worst.argmin(axis=1)
    lowest = worst.min(axis=1)
    is_open = ~view.held.any(axis=1) & ~view.barred.all(axis=1) & ~standing.first_on_its_way
    row_no = np.flatnonzero(is_open & (lowest <= max(balance.free_nanousd, 0)))
    return first_answers(row_no, tier_no[row_no], lowest[row_no])


def first_answers(
    row_no: NDArray[np.int64], tier_no: NDArray[np.intp], lowest_nanousd: NDArray[np.int64]
) -> Wave:
    """First answers that no planner asked for, each on the tier where its worst case is lowest.

    Args:
        row_no: [K] rows.
        tier_no: [K] their tiers.
        lowest_nanousd: [K] their worst cases there.
    """
    count = len(row_no)
    return Wave(
        row_no=row_no.astype(np.int32),
        tier_no=tier_no.astype(np.int16),
        action=np.full(count, Action.ANSWER, dtype=np.int8),
        reason=np.full(count, Reason.START, dtype=np.int8),
        gain=np.zeros(count, dtype=np.float32),
        expected_nanousd=lowest_nanousd,
        draw_probability=np.ones(count, dtype=np.float32),
        price_of_money=0.0,
    )


def write_decisions(connection: sa.Connection, job_id: int, wave_no: int, wave: Wave) -> None:
    """Store why each row is to be asked. Locks nothing that anybody else wants."""
    raw = raw_connection(connection)
    count = len(wave)
    values = [
        np.broadcast_to(job_id, count),
        wave.row_no,
        wave.tier_no,
        wave.action,
        np.broadcast_to(wave_no, count),
        wave.expected_nanousd,
        wave.gain,
        wave.draw_probability,
        wave.reason,
    ]
    table = sql.Identifier("cascade_store", f"decision_{job_id}")
    try:
        with connection.begin_nested():
            write_columns(raw, table, _DECISION, values)
    except psycopg.errors.UniqueViolation:
        # Some of it was bought before, could not be afforded, and is tried again.
        raw.execute("DROP TABLE IF EXISTS new_decision")
        raw.execute(
            sql.SQL("CREATE TEMPORARY TABLE new_decision (LIKE {}) ON COMMIT DROP").format(table)
        )
        write_columns(raw, sql.Identifier("new_decision"), _DECISION, values)
        raw.execute(
            sql.SQL(
                "INSERT INTO {} SELECT * FROM new_decision"
                " ON CONFLICT (job_id, row_no, tier_no, action) DO UPDATE SET "
                "wave = excluded.wave, expected_nanousd = excluded.expected_nanousd,"
                " gain = excluded.gain, draw_probability = excluded.draw_probability,"
                " reason = excluded.reason"
            ).format(table)
        )


def release_wave(
    connection: sa.Connection, job: Job, standing: Standing, wave: Wave
) -> tuple[int, list[ChunkNotice]]:
    """Cut a wave into chunks and set aside what its first answers need. Its decisions are written already.

    Returns:
        How many chunks there are, and notices to be published after the commit.
    """
    view = standing.view
    wave_no = job.waves + 1
    is_first = np.asarray(~view.held[wave.row_no].any(axis=1))
    part = standing.part_nanousd[wave.row_no]
    work = Work(
        row_no=wave.row_no,
        tier_no=wave.tier_no,
        action=wave.action,
        is_first=is_first,
        promised_nanousd=np.maximum(wave.expected_nanousd - part, 0),
        fence_part_nanousd=part,
        is_usual=part == view.worst_nanousd[wave.row_no, wave.tier_no],
    )
    chunks = cut_into_chunks(job, wave_no, work)
    connection.execute(
        sa.insert(WAVE).values(
            job_id=job.job_id,
            wave=wave_no,
            price_of_money=wave.price_of_money,
            free_nanousd=view.free_nanousd,
            purchases=len(wave),
            basis=view.labels.name.lower(),
            extra={"seed": job.spec.seed, "rows_in_flight": standing.rows_on_their_way},
        )
    )
    notices = insert_chunks(connection, job.name, chunks)
    # The balance before the tiers, as in a turn: who takes them the other way round waits for us for ever.
    read_balance(connection, job.job_id, lock=True)
    move_ring_fence(connection, job.job_id, standing.fence_shift_nanousd)
    is_escalation = ~is_first & (wave.action == Action.ANSWER)
    escalated = np.bincount(wave.tier_no[is_escalation], minlength=len(job.spec.tiers))
    for tier_no in np.flatnonzero(escalated):
        connection.execute(
            sa.update(JOB_TIER)
            .where(JOB_TIER.c.job_id == job.job_id, JOB_TIER.c.tier_no == int(tier_no))
            .values(escalated=JOB_TIER.c.escalated + int(escalated[tier_no]))
        )
    connection.execute(
        sa.update(JOB)
        .where(JOB.c.job_id == job.job_id)
        .values(waves=wave_no, labels=view.labels.name.lower())
    )
    return len(chunks), notices


def note_planning(
    connection: sa.Connection,
    job: Job,
    *,
    calls: int | None,
    open_chunks: int,
    took_s: float,
    work_s: float | None = None,
) -> None:
    """Note that the job was planned, what it had done by then, and when it is to be planned again.

    Args:
        calls: Calls that had been made, and rows that had been given up, in the snapshot that was planned;
            None: the next plan is made whether or not there are more of them by then.
        open_chunks: Chunks that are open now.
        took_s: How long planning took.
        work_s: How long what is open will keep workers busy; None: not known.
    """
    next_ = next_planning(open_chunks, took_s, work_s)
    connection.execute(
        sa.update(JOB)
        .where(JOB.c.job_id == job.job_id)
        .values(
            # Whoever finds it due next need not wait for an answer to this call.
            planned_at=None,
            planned_calls=calls,
            plan_failures=0,
            plan_below=next_.below,
            plan_not_before=sa.text(f"clock_timestamp() + make_interval(secs => {next_.rest_s})"),
            # A failure of the planner is over; that a provider does not answer is for workers to say.
            reason=sa.case((JOB.c.plan_failures == 0, JOB.c.reason)),
        )
    )
