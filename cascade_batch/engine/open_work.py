"""Chunks as the planner sees them: which rows they hold, how far they are, and what money they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

_COLUMNS = """
SELECT chunk_id, tier_no, action, state = 'done', turn_no, row_from, row_to, row_count,
       promised_nanousd, lent_nanousd, in_flight, judged_tier_no, {once}
  FROM cascade_store.chunk WHERE job_id = %(job)s AND """
_OPEN = _COLUMNS.format(once="row_nos, fence_parts") + "state <> 'done'"
_SINCE = (
    _COLUMNS.format(
        once="CASE WHEN chunk_id > %(last)s THEN row_nos END,"
        " CASE WHEN chunk_id > %(last)s THEN fence_parts END"
    )
    + "(chunk_id > %(last)s OR chunk_id = ANY (%(open)s))"
)


@dataclass(frozen=True, slots=True)
class ChunkState:
    """A chunk in a snapshot.

    Attributes:
        tier_no: The tier that is asked.
        about_tier_no: The tier whose answers it is about: a judge's is another one, maybe.
        row_no: Its rows.
        fence_part_nanousd: What the ring fence holds for each of them while it has no answer; None: the
            row's worst case on this tier.
        reserved: Rows whose calls are reserved now.
        lent_nanousd: What these took out of the ring fence.
        promised_nanousd: What all its calls were expected to cost beyond what is fenced for them.
    """

    chunk_id: int
    tier_no: int
    about_tier_no: int
    action: int
    is_done: bool
    turn_no: int
    row_no: NDArray[np.int32]
    fence_part_nanousd: NDArray[np.int64] | None
    reserved: NDArray[np.int32]
    lent_nanousd: int
    promised_nanousd: int


def read_chunks(
    raw: psycopg.Connection[tuple[object, ...]],
    job_id: int,
    known: Mapping[int, ChunkState],
    last_chunk_id: int | None,
) -> tuple[dict[int, ChunkState], int]:
    """The chunks that are open, that were, and that are new.

    Args:
        known: Chunks that were open when they were last read.
        last_chunk_id: The job's highest chunk id at that time; None: read all that are open now.

    Returns:
        Chunks by id, and the job's highest chunk id.
    """
    with raw.cursor(binary=True) as cursor:
        if last_chunk_id is None:
            cursor.execute(_OPEN, {"job": job_id})
        else:
            cursor.execute(_SINCE, {"job": job_id, "last": last_chunk_id, "open": list(known)})
        rows = cursor.fetchall()
        cursor.execute(
            "SELECT coalesce(max(chunk_id), 0) FROM cascade_store.chunk WHERE job_id = %s", [job_id]
        )
        found = cursor.fetchone()
    last = int(str(found[0])) if found else 0
    chunks = [_chunk(row, known) for row in rows]
    return {chunk.chunk_id: chunk for chunk in chunks}, last


def _chunk(row: tuple[Any, ...], known: Mapping[int, ChunkState]) -> ChunkState:
    (chunk_id, tier_no, action, is_done, turn_no, row_from, row_to, row_count) = row[:8]
    (promised, lent, in_flight, judged_tier_no, row_nos, parts) = row[8:]
    before = known.get(chunk_id)
    if before is not None:
        row_no, part = before.row_no, before.fence_part_nanousd
    else:
        # A chunk without a list of rows is a range of them.
        row_no = np.arange(row_from, row_to, dtype=np.int32) if row_nos is None else _ints(row_nos)
        part = None if parts is None else np.array(parts, dtype=np.int64)
    if len(row_no) != row_count:
        raise ValueError(f"chunk {chunk_id} holds {len(row_no)} rows, not {row_count}")
    return ChunkState(
        chunk_id=chunk_id,
        tier_no=tier_no,
        about_tier_no=tier_no if judged_tier_no is None else judged_tier_no,
        action=action,
        is_done=is_done,
        turn_no=turn_no,
        row_no=row_no,
        fence_part_nanousd=part,
        reserved=_ints(in_flight or []),
        lent_nanousd=lent,
        promised_nanousd=promised,
    )


def _ints(values: list[int]) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)
