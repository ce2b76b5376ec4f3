"""The rows of a chunk for which what it buys is still to be bought."""

from __future__ import annotations

from collections import Counter, deque
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


_ROWS = """
SELECT r.row_no, r.input, r.gold, r.worst_nanousd[%(tier)s + 1]
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s AND {of_r}
 ORDER BY r.row_no
"""
# Calls that were lost are those of the same purchase: a judge that is lost three times may still answer.
_LOST = """
  FROM cascade_store.lost_call l
  JOIN cascade_store.chunk k USING (chunk_id)
 WHERE l.job_id = %(job)s AND {of_l} AND l.tier_no = %(tier)s
   AND NOT l.forgiven AND k.sample_no = %(sample)s
   AND k.judged_tier_no IS NOT DISTINCT FROM %(judged)s
"""
# What is known of the rows, most often nothing, is asked for by itself: looked up row by row, in three
# tables, it took several times what reading the rows takes. These never change, so that all is of one moment.
#
# Every table is told the chunk's rows, not only the first: the statement is planned while the job's tables
# are new and have no statistics, and a plan that reads all answers for each chunk is quadratic in the job.
_KNOWN = f"""
SELECT 'answer', a.row_no, a.tier_no = %(tier)s AND a.sample_no = %(sample)s,
       a.tier_no = %(tier)s AND a.sample_no = 0
  FROM cascade_store.answer a
 WHERE a.job_id = %(job)s AND {{of_a}}
 UNION ALL
SELECT 'refusal', f.row_no, NULL, NULL
  FROM cascade_store.refusal f
 WHERE f.job_id = %(job)s AND {{of_f}} AND f.tier_no = %(tier)s
 UNION ALL
SELECT 'lost', l.row_no, NULL, NULL
{_LOST}
"""
_JUDGED = f"""
SELECT r.row_no, r.input, r.gold, coalesce(a.text, ''),
       (SELECT count(*) {_LOST} AND l.row_no = r.row_no)
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
    (query, is_range): _where(query, _RANGE if is_range else _LISTED)
    for query in (_ROWS, _KNOWN, _JUDGED)
    for is_range in (False, True)
}


async def load_rows(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], lease: Lease
) -> deque[RowTask]:
    """Rows to ask, in the order in which they should be bought.

    The worst case of a call to a judge is 0 here: it depends on its request, which is still to be made.
    """
    if lease.judged_tier_no is not None:
        tasks = await _to_judge(connection, lease)
    else:
        tasks = await _to_ask(connection, lease)
    if lease.row_nos is not None:
        place = {row_no: i for i, row_no in enumerate(lease.row_nos)}
        tasks.sort(key=lambda t: place[t.row_no])
    return deque(tasks)


async def _to_ask(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], lease: Lease
) -> list[RowTask]:
    answered: set[int] = set()
    asked_before: set[int] = set()
    done: set[int] = set()
    lost: Counter[int] = Counter()
    for what, row_no, is_it, is_first in await _find(connection, _KNOWN, lease):
        if what == "lost":
            lost[row_no] += 1
        elif what == "refusal":
            done.add(row_no)
        else:
            answered.add(row_no)
            if is_it:
                done.add(row_no)
            if is_first:
                asked_before.add(row_no)
    places = lease.row_nos or range(lease.row_from, lease.row_to)
    parts = lease.fence_parts and dict(zip(places, lease.fence_parts, strict=True))
    return [
        RowTask(
            want=Want(
                row_no=row_no,
                worst_nanousd=worst,
                # Its part of the ring fence, as the planner that released the chunk left it.
                lent_nanousd=0 if row_no in answered else parts[row_no] if parts else worst,
                is_first=row_no not in answered,
            ),
            fields=fields,
            gold=gold,
            lost=lost[row_no],
        )
        for row_no, fields, gold, worst in await _find(connection, _ROWS, lease)
        # A tier is asked once more only where it was asked at all.
        if row_no not in done and (lease.sample_no == 0 or row_no in asked_before)
    ]


async def _to_judge(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], lease: Lease
) -> list[RowTask]:
    return [
        RowTask(
            want=Want(row_no=row_no, worst_nanousd=0, lent_nanousd=0, is_first=False),
            fields=fields,
            gold=gold,
            lost=lost,
            judged_text=text,
        )
        for row_no, fields, gold, text, lost in await _find(connection, _JUDGED, lease)
    ]


async def _find(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], query: str, lease: Lease
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(
        _QUERIES[query, lease.row_nos is None],
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
    return await cursor.fetchall()
