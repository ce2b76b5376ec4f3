"""Chunks: how rows are cut into them, and which of them wait for somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from cascade_batch.engine.jobs import Job
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.policy.view import Action
from cascade_batch.store.tables import CHUNK

PUBLISHED_AT_ONCE = 64
"""Messages sent for one wave. A message only wakes a worker, which then takes chunk after chunk from
the table; Celery on Redis carries some 850 messages a second, so that one per chunk of a large job
would cost a minute and tell nobody anything new. Each that waits until its chunk was done costs a worker 2 ms
to find out. Where more workers are idle than this, the sweeper wakes the others within seconds."""

ChunkValues = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """Calls to be made, in the order of their urgency; K of them.

    Attributes:
        row_no: [K] rows.
        tier_no: [K] the tiers that are asked for an answer, or whose answer is judged.
        action: [K] what is bought: an `Action`.
        is_first: [K] the row has no answer yet.
        promised_nanousd: [K] expected cost beyond what the ring fence holds for the row.
        fence_part_nanousd: [K] what the ring fence holds for the row; 0 for rows with an answer.
        is_usual: [K] that part is the row's worst case on the tier.
    """

    row_no: NDArray[np.int32]
    tier_no: NDArray[np.int16]
    action: NDArray[np.int8]
    is_first: NDArray[np.bool_]
    promised_nanousd: NDArray[np.int64]
    fence_part_nanousd: NDArray[np.int64]
    is_usual: NDArray[np.bool_]


def cut_into_chunks(job: Job, wave: int, work: Work) -> list[ChunkValues]:
    """Chunks of at most `chunk_rows` rows, each of one tier and one action, and either of first answers or of
    others: an escalation that waits for money must not hold up a first answer, whose money is there.

    Chunks of different kinds take turns, so that the first chunks inserted are the most urgent ones.
    """
    kind = (work.tier_no.astype(np.int64) * 8 + work.action) * 2 + work.is_first
    size = job.spec.chunk_rows
    starts: list[tuple[int, NDArray[np.intp]]] = []
    # Kinds are small numbers, counted at once; `np.unique` would sort them, and load `numpy.ma` for that.
    for one in np.flatnonzero(np.bincount(kind)):
        places = np.flatnonzero(kind == one)
        starts += [(int(places[i]), places[i : i + size]) for i in range(0, len(places), size)]
    return [
        _chunk(job, wave, work, places) for _, places in sorted(starts, key=lambda start: start[0])
    ]


def _chunk(job: Job, wave: int, work: Work, places: NDArray[np.intp]) -> ChunkValues:
    first = places[0]
    rows = work.row_no[places]
    about = int(work.tier_no[first])
    action = int(work.action[first])
    tier = job.spec.judge_tier_no if action == Action.JUDGE else about
    if tier is None:
        raise ValueError("a verdict was to be bought for a job that names no judge")
    is_range = bool(np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))))
    is_usual = not work.is_first[first] or bool(work.is_usual[places].all())
    return {
        "job_id": job.job_id,
        "wave": wave,
        "tier_no": tier,
        "tier_name": job.spec.tiers[tier].name,
        "action": action,
        "sample_no": int(action == Action.SAMPLE),
        "judged_tier_no": about if action == Action.JUDGE else None,
        "row_from": int(rows.min()),
        "row_to": int(rows.max()) + 1,
        "row_nos": None if is_range else rows.tolist(),
        "row_count": len(rows),
        "promised_nanousd": int(work.promised_nanousd[places].sum()),
        "fence_parts": None if is_usual else work.fence_part_nanousd[places].tolist(),
    }


def insert_chunks(
    connection: sa.Connection, job: str, chunks: Sequence[ChunkValues]
) -> list[ChunkNotice]:
    """Store chunks in their order.

    Returns:
        Notices of the first of them, to be published after the commit.
    """
    if not chunks:
        return []
    ids = connection.execute(
        sa.insert(CHUNK).returning(CHUNK.c.chunk_id, sort_by_parameter_order=True), list(chunks)
    ).scalars()
    notices = [notice(job, chunk_id, chunk) for chunk_id, chunk in zip(ids, chunks, strict=True)]
    return spread(notices)


def spread(notices: Sequence[ChunkNotice]) -> list[ChunkNotice]:
    """The first notices of each tier, so that every tier's workers wake."""
    per_tier: dict[str, list[ChunkNotice]] = {}
    for one in notices:
        per_tier.setdefault(one.tier, []).append(one)
    share = max(PUBLISHED_AT_ONCE // max(len(per_tier), 1), 1)
    return [one for group in per_tier.values() for one in group[:share]]


def notice(job: str, chunk_id: int, chunk: ChunkValues) -> ChunkNotice:
    """What a message about the chunk says."""
    if chunk["row_nos"] is None:
        rows = f"{chunk['row_from']}-{chunk['row_to'] - 1}"
    else:
        rows = f"{chunk['row_count']} of {chunk['row_from']}-{chunk['row_to'] - 1}"
    return ChunkNotice(chunk_id=chunk_id, job=job, tier=chunk["tier_name"], rows=rows)
