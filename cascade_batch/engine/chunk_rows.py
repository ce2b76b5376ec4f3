"""The rows of a chunk that its tier has still to answer."""

from __future__ import annotations

from collections import deque
from typing import Any

import psycopg

from cascade_batch.engine.open_chunk import RowTask
from cascade_batch.ledger import Lease
from cascade_batch.ledger.turn import Want

_ROWS = """
SELECT r.row_no, r.input, r.gold, r.worst_nanousd,
       EXISTS (SELECT 1 FROM cascade_store.answer a
                WHERE a.job_id = %(job)s AND a.row_no = r.row_no),
       (SELECT count(*) FROM cascade_store.lost_call l
         WHERE l.job_id = %(job)s AND l.row_no = r.row_no AND l.tier_no = %(tier)s
           AND NOT l.forgiven)
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s AND {which}
   AND NOT EXISTS (SELECT 1 FROM cascade_store.answer a
                    WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND a.tier_no = %(tier)s)
   AND NOT EXISTS (SELECT 1 FROM cascade_store.refusal f
                    WHERE f.job_id = %(job)s AND f.row_no = r.row_no AND f.tier_no = %(tier)s)
 ORDER BY r.row_no
"""
_RANGE = _ROWS.format(which="r.row_no >= %(from)s AND r.row_no < %(to)s")
_LISTED = _ROWS.format(which="r.row_no = ANY (%(rows)s)")


async def load_rows(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], lease: Lease
) -> deque[RowTask]:
    """Rows to ask, in the order in which they should be bought."""
    cursor = await connection.execute(
        _RANGE if lease.row_nos is None else _LISTED,
        {
            "job": lease.job_id,
            "tier": lease.tier_no,
            "from": lease.row_from,
            "to": lease.row_to,
            "rows": lease.row_nos,
        },
    )
    tasks = [
        RowTask(
            want=Want(
                row_no=row_no,
                worst_nanousd=worst[lease.tier_no],
                # Its part of the ring fence, as the planner that released the chunk left it.
                lent_nanousd=0 if answered else worst[lease.tier_no],
                is_first=not answered,
            ),
            fields=fields,
            gold=gold,
            lost=lost,
        )
        for row_no, fields, gold, worst, answered, lost in await cursor.fetchall()
    ]
    if lease.row_nos is not None:
        place = {row_no: i for i, row_no in enumerate(lease.row_nos)}
        tasks.sort(key=lambda t: place[t.row_no])
    return deque(tasks)
