"""Rows that ask what an earlier row of their job asks: followers, which get their leader's answer.

A follower is never asked, planned or fenced. When the job finishes or is cancelled, it gets a copy of the
answer that stands for its leader, at no cost, with what that answer cost as saved. It shares the leader's
fate otherwise, too: where that one fails, it fails for the same reasons, and `retry` asks the leader for
both.

Copies are added once, however often this runs: after a larger budget there may be another answer to add.
"""

from __future__ import annotations

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from cascade_batch.store.columns import read_columns, write_columns

Raw = psycopg.Connection[tuple[object, ...]]
Rows = NDArray[np.int64]

COPIED = """passed, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, latency_ms,
    logprob_mean, logprob_min, logprob_sum, label_logprob, text, value, error, finish_reason, signals,
    matches_gold, value_key"""
"""What of an answer does not depend on who paid for it, nor on when."""

# Until the planner chose, the dearest answer that fits: as `cascade_store.standing` has it.
_FOLLOW = f"""
WITH added AS (
    INSERT INTO cascade_store.answer (
        job_id, row_no, tier_no, sample_no, cost_nanousd, chunk_id, answered_at, saved_nanousd, {COPIED})
    SELECT f.job_id, f.row_no, a.tier_no, 0, 0, 0, a.answered_at,
           a.cost_nanousd + coalesce(a.saved_nanousd, 0), {COPIED}
      FROM cascade_store.follower f
     CROSS JOIN LATERAL (
           SELECT o.* FROM cascade_store.answer o
            WHERE o.job_id = %(job)s AND o.row_no = f.leader_no AND o.sample_no = 0
            ORDER BY (o.tier_no = (SELECT c.tier_no FROM cascade_store.choice c
                                    WHERE c.job_id = %(job)s AND c.row_no = f.leader_no)) DESC NULLS LAST,
                     (o.value IS NOT NULL) DESC, o.tier_no DESC
            LIMIT 1) a
     WHERE f.job_id = %(job)s
    ON CONFLICT DO NOTHING
    RETURNING row_no, tier_no, saved_nanousd
), counted AS (
    SELECT n.tier_no, count(*) AS answers,
           count(*) FILTER (WHERE NOT EXISTS (
               SELECT FROM cascade_store.answer o
                WHERE o.job_id = %(job)s AND o.row_no = n.row_no)) AS first_answers,
           sum(n.saved_nanousd)::bigint AS saved_nanousd
      FROM added n GROUP BY n.tier_no
), by_tier AS (
    UPDATE cascade_store.job_tier t
       SET answers = t.answers + n.answers, cached = t.cached + n.answers,
           first_answers = t.first_answers + n.first_answers
      FROM counted n WHERE t.job_id = %(job)s AND t.tier_no = n.tier_no
)
UPDATE cascade_store.job j
   SET saved_nanousd = j.saved_nanousd + (SELECT coalesce(sum(saved_nanousd), 0)::bigint FROM counted)
 WHERE j.job_id = %(job)s AND EXISTS (SELECT FROM counted)
"""  # noqa: S608


def store_followers(raw: Raw, job_id: int, followers: Rows, leaders: Rows) -> None:
    """Store which rows follow which ones, in the job's own table."""
    if not followers.size:
        return
    write_columns(
        raw,
        sql.Identifier("cascade_store", f"follower_{job_id}"),
        [("job_id", "int4"), ("row_no", "int4"), ("leader_no", "int4")],
        [np.broadcast_to(job_id, followers.shape), followers, leaders],
    )
    raw.execute(
        "UPDATE cascade_store.job SET rows_duplicate = %s WHERE job_id = %s",
        [len(followers), job_id],
    )


def read_leaders(raw: Raw, job_id: int, rows: int) -> Rows | None:
    """Of each row the one that is asked for it; None: each is asked itself."""
    found = read_columns(
        raw,
        f"SELECT row_no, leader_no FROM cascade_store.follower WHERE job_id = {int(job_id)}",  # noqa: S608
        [("row_no", "int4"), ("leader_no", "int4")],
    )
    if not found["row_no"].size:
        return None
    leader = np.arange(rows)
    leader[found["row_no"]] = found["leader_no"]
    return leader


def follow(raw: Raw, job_id: int) -> None:
    """Give followers the answers that stand for their leaders, and count them. The caller has the job locked.

    Where a leader has none, nothing is done: the choice that says why is written for both.
    """
    raw.execute(_FOLLOW, {"job": job_id})
