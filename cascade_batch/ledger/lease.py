"""Leases on chunks: who works on what, until when, under which fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

EXPIRE_LEASES = """
SELECT cascade_store.expire_leases({most}, CASE
    WHEN pg_postmaster_start_time() <= clock_timestamp() THEN pg_postmaster_start_time()
    ELSE '-infinity' END)
"""
"""Where the clock was set back, the server's start may lie ahead, and tells nothing."""

Buys = tuple[int, int, int | None]
"""Tier, number of the sample, judged tier."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A chunk that is ours.

    Attributes:
        fence: Raised whenever the chunk changes hands; a turn under an older one writes nothing.
        turn_no: Number of the chunk's last turn.
        row_nos: The chunk's rows, where they are no range.
        sample_no: 0: the tier's first answers; from 1 on: it is asked again.
        judged_tier_no: The tier whose answers `tier_no` judges; None: it is asked for answers.
        fence_parts: What the ring fence holds for each row, in their order; None: the row's worst case on
            this tier.
    """

    chunk_id: int
    job_id: int
    tier_no: int
    wave: int
    fence: int
    turn_no: int
    row_from: int
    row_to: int
    row_nos: list[int] | None
    sample_no: int = 0
    judged_tier_no: int | None = None
    fence_parts: list[int] | None = None

    @property
    def buys(self) -> Buys:
        """What is bought for each row: no two chunks at work buy the same for one row."""
        return self.tier_no, self.sample_no, self.judged_tier_no


async def claim_chunks(
    connection: psycopg.AsyncConnection[tuple[Any, ...]],
    *,
    owner: str,
    tiers: Sequence[str],
    lease_s: float,
    most: int,
) -> list[Lease]:
    """Take up to `most` chunks of these tiers that nobody holds, fair between jobs."""
    cursor = await connection.execute(
        "SELECT * FROM cascade_store.claim(%s, %s::text[], %s, %s)",
        (owner, list(tiers), lease_s, most),
    )
    return [Lease(*row) for row in await cursor.fetchall()]


async def expire_leases(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], *, most: int = 1000
) -> int:
    """Write off what is reserved under leases that ran out, and free their chunks.

    Returns:
        How many leases had run out.
    """
    cursor = await connection.execute(EXPIRE_LEASES.format(most="%s"), (most,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
