"""The rows of a chunk that its tier has still to answer."""

from __future__ import annotations

from collections import deque
from typing import Any

import psycopg

from cascade_batch.engine.open_chunk import RowTask
from cascade_batch.ledger import Lease
from cascade_batch.ledger.turn import Want

# Every table is told the chunk's rows, not only the first: the statement is planned while the job's tables
# are new and have no statistics, and a plan that reads all answers for each chunk is quadratic in the job.
_ROWS = """
SELECT r.row_no, r.input, r.gold, r.worst_nanousd,
       EXISTS (SELECT 1 FROM cascade_store.answer a
                WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND {of_a}),
       (SELECT count(*) FROM cascade_store.lost_call l
         WHERE l.job_id = %(job)s AND l.row_no = r.row_no AND l.tier_no = %(tier)s
           AND {of_l} AND NOT l.forgiven)
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s AND {of_r}
   AND NOT EXISTS (SELECT 1 FROM cascade_store.answer a
                    WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND {of_a}
                      AND a.tier_no = %(tier)s)
   AND NOT EXISTS (SELECT 1 FROM cascade_store.refusal f
                    WHERE f.job_id = %(job)s AND f.row_no = r.row_no AND {of_f}
                      AND f.tier_no = %(tier)s)
 ORDER BY r.row_no
"""


def _rows_where(condition: str) -> str:
    return _ROWS.format(**{f"of_{t}": condition.replace("row_no", f"{t}.row_no") for t in "ralf"})


_RANGE = _rows_where("row_no >= %(from)s AND row_no < %(to)s")
_LISTED = _rows_where("row_no = ANY (%(rows)s)")


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
