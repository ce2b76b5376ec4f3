"""The rows of a chunk for which what it buys is still to be bought."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import psycopg

from cascade_batch.ledger import Lease
from cascade_batch.ledger.turn import Want


@dataclass(slots=True)
class RowTask:
    """A row to be asked of the chunk's tier.

    Attributes:
        lost: How many calls for the same purchase came to no known end.
        tries: How often a server at fault, or none at all, made it be sent again.
        attempts: Those of `tries` that came after other rows had been answered.
        others_answered: Rows that the tier had answered when it first sent this one back, since the
            chunk was opened; None: it did not.
        judged_text: The answer that is to be judged; None: the row itself is asked.
    """

    want: Want
    fields: dict[str, Any]
    gold: str | None
    lost: int
    tries: int = 0
    attempts: int = 0
    others_answered: int | None = None
    judged_text: str | None = None

    @property
    def row_no(self) -> int:
        """The row's number."""
        return self.want.row_no


# Calls that were lost are those of the same purchase: a judge that is lost three times may still answer.
_LOST = """
(SELECT count(*) FROM cascade_store.lost_call l
   JOIN cascade_store.chunk k USING (chunk_id)
  WHERE l.job_id = %(job)s AND l.row_no = r.row_no AND l.tier_no = %(tier)s
    AND {of_l} AND NOT l.forgiven AND k.sample_no = %(sample)s
    AND k.judged_tier_no IS NOT DISTINCT FROM %(judged)s)
"""
# Every table is told the chunk's rows, not only the first: the statement is planned while the job's tables
# are new and have no statistics, and a plan that reads all answers for each chunk is quadratic in the job.
_ASKED = f"""
SELECT r.row_no, r.input, r.gold, r.worst_nanousd[%(tier)s + 1],
       EXISTS (SELECT 1 FROM cascade_store.answer a
                WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND {{of_a}}),
       {_LOST}, NULL
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s AND {{of_r}}
   AND NOT EXISTS (SELECT 1 FROM cascade_store.answer a
                    WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND {{of_a}}
                      AND a.tier_no = %(tier)s AND a.sample_no = %(sample)s)
   AND (%(sample)s = 0
        OR EXISTS (SELECT 1 FROM cascade_store.answer a
                    WHERE a.job_id = %(job)s AND a.row_no = r.row_no AND {{of_a}}
                      AND a.tier_no = %(tier)s AND a.sample_no = 0))
   AND NOT EXISTS (SELECT 1 FROM cascade_store.refusal f
                    WHERE f.job_id = %(job)s AND f.row_no = r.row_no AND {{of_f}}
                      AND f.tier_no = %(tier)s)
 ORDER BY r.row_no
"""
_JUDGED = f"""
SELECT r.row_no, r.input, r.gold, 0, true, {_LOST}, coalesce(a.text, '')
  FROM cascade_store.row r
  JOIN cascade_store.answer a ON a.job_id = %(job)s AND a.row_no = r.row_no AND {{of_a}}
       AND a.tier_no = %(judged)s AND a.sample_no = 0
 WHERE r.job_id = %(job)s AND {{of_r}}
   AND NOT EXISTS (SELECT 1 FROM cascade_store.verdict v
                    WHERE v.job_id = %(job)s AND v.row_no = r.row_no AND {{of_v}}
                      AND v.tier_no = %(judged)s AND v.judge_tier_no = %(tier)s)
 ORDER BY r.row_no
"""


def _where(query: str, condition: str) -> str:
    return query.format(**{f"of_{t}": condition.replace("row_no", f"{t}.row_no") for t in "ralfv"})


_RANGE = "row_no >= %(from)s AND row_no < %(to)s"
_LISTED = "row_no = ANY (%(rows)s)"
_QUERIES = {
    (is_judged, is_range): _where(_JUDGED if is_judged else _ASKED, _RANGE if is_range else _LISTED)
    for is_judged in (False, True)
    for is_range in (False, True)
}


async def load_rows(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], lease: Lease
) -> deque[RowTask]:
    """Rows to ask, in the order in which they should be bought.

    The worst case of a call to a judge is 0 here: it depends on its request, which is still to be made.
    """
    cursor = await connection.execute(
        _QUERIES[lease.judged_tier_no is not None, lease.row_nos is None],
        {
            "job": lease.job_id,
            "tier": lease.tier_no,
            "sample": lease.sample_no,
            "judged": lease.judged_tier_no,
            "from": lease.row_from,
            "to": lease.row_to,
            "rows": lease.row_nos,
        },
    )
    places = lease.row_nos or range(lease.row_from, lease.row_to)
    parts = lease.fence_parts and dict(zip(places, lease.fence_parts, strict=True))
    tasks = [
        RowTask(
            want=Want(
                row_no=row_no,
                worst_nanousd=worst,
                # Its part of the ring fence, as the planner that released the chunk left it.
                lent_nanousd=0 if answered else parts[row_no] if parts else worst,
                is_first=not answered,
            ),
            fields=fields,
            gold=gold,
            lost=lost,
            judged_text=judged_text,
        )
        for row_no, fields, gold, worst, answered, lost, judged_text in await cursor.fetchall()
    ]
    if lease.row_nos is not None:
        place = {row_no: i for i, row_no in enumerate(lease.row_nos)}
        tasks.sort(key=lambda t: place[t.row_no])
    return deque(tasks)
