"""Chunks: how rows are cut into them, and which of them wait for somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.store.tables import CHUNK

PUBLISHED_AT_ONCE = 256
"""Messages sent for one wave. A message only wakes a worker, which then takes chunk after chunk from
the table; Celery on Redis carries some 850 messages a second, so that one per chunk of a large job
would cost a minute and tell nobody anything new."""

ChunkValues = dict[str, Any]


def cut_into_chunks(
    job_id: int,
    wave: int,
    tier_names: Sequence[str],
    row_no: NDArray[np.int32],
    tier_no: NDArray[np.int16],
    chunk_rows: int,
) -> Iterator[ChunkValues]:
    """Chunks of at most `chunk_rows` rows of one tier each, in the given order of rows.

    Chunks of different tiers take turns, so that the first chunks inserted are the most urgent ones.
    """
    starts: list[tuple[int, int, NDArray[np.int32]]] = []
    for tier in np.unique(tier_no):
        places = np.flatnonzero(tier_no == tier)
        rows = row_no[places]
        starts += [
            (int(places[i]), int(tier), rows[i : i + chunk_rows])
            for i in range(0, len(rows), chunk_rows)
        ]
    for _, tier, rows in sorted(starts, key=lambda s: s[0]):
        ordered = np.arange(rows[0], rows[0] + len(rows), dtype=rows.dtype)
        is_range = bool(np.array_equal(rows, ordered))
        yield {
            "job_id": job_id,
            "wave": wave,
            "tier_no": tier,
            "tier_name": tier_names[tier],
            "row_from": int(rows.min()),
            "row_to": int(rows.max()) + 1,
            "row_nos": None if is_range else rows.tolist(),
            "row_count": len(rows),
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
        rows = f"{chunk['row_count']} rows of {chunk['row_from']}-{chunk['row_to'] - 1}"
    return ChunkNotice(chunk_id=chunk_id, job=job, tier=chunk["tier_name"], rows=rows)
