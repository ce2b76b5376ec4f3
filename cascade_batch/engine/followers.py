"""Rows that ask what an earlier row of their job asks: followers, which get their leader's answers.

A follower is never asked, planned or fenced. When the job is over, it gets a copy of each first answer that
its leader has from a tier, at no cost, with what that answer cost as saved. Having the same answers, it has
the same one standing, and what is saved is what its leader's answers cost, whether the job finished once or
went on and on with more money. It shares the leader's fate otherwise, too: where that one fails, it fails for
the same reasons, and `retry` asks the leader for both.

Copies are added once, however often this runs: of a job that goes on, and of one that was cancelled or failed
while calls were in flight, there are more to add. The sweeper looks after the latter.
"""

from __future__ import annotations

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg import sql

from cascade_batch.ledger import read_balance
from cascade_batch.store.columns import read_columns, write_columns
from cascade_batch.store.engine import raw_connection

Raw = psycopg.Connection[tuple[object, ...]]
Rows = NDArray[np.int64]

COPIED = """passed, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, latency_ms,
    logprob_mean, logprob_min, logprob_sum, label_logprob, text, value, error, finish_reason, signals,
    matches_gold, value_key"""
"""What of an answer does not depend on who paid for it, nor on when."""

FOLLOW = f"""
WITH added AS (
    INSERT INTO cascade_store.answer (
        job_id, row_no, tier_no, sample_no, cost_nanousd, chunk_id, answered_at, saved_nanousd, {COPIED})
    SELECT f.job_id, f.row_no, a.tier_no, 0, 0, 0, a.answered_at,
           a.cost_nanousd + coalesce(a.saved_nanousd, 0), {COPIED}
      FROM cascade_store.follower f
      JOIN cascade_store.answer a
        ON a.job_id = %(job)s AND a.row_no = f.leader_no AND a.sample_no = 0
     WHERE f.job_id = %(job)s
    ON CONFLICT DO NOTHING
    RETURNING row_no, tier_no, saved_nanousd
), placed AS (
    SELECT n.tier_no, n.saved_nanousd,
           n.tier_no = min(n.tier_no) OVER (PARTITION BY n.row_no)
           AND NOT EXISTS (SELECT FROM cascade_store.answer o
                            WHERE o.job_id = %(job)s AND o.row_no = n.row_no) AS is_first
      FROM added n
), counted AS (
    SELECT tier_no, count(*) AS answers, count(*) FILTER (WHERE is_first) AS first_answers,
           sum(saved_nanousd)::bigint AS saved_nanousd
      FROM placed GROUP BY tier_no
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
"""Gives a job's followers the answers of their leaders, and counts them."""
# A job that is over, with followers that may have missed something, and nothing in flight any more. Its end
# is looked after once: then both times are the same.
_OWED = """
SELECT j.job_id FROM cascade_store.job j
 WHERE j.state IN ('cancelled', 'failed') AND j.rows_duplicate > 0 AND NOT j.deleting
   AND j.followed_at IS DISTINCT FROM j.finished_at
   AND NOT EXISTS (SELECT FROM cascade_store.chunk c WHERE c.job_id = j.job_id AND c.state = 'leased')
 ORDER BY j.job_id LIMIT 1
   FOR NO KEY UPDATE OF j SKIP LOCKED
"""
_NOTE = """
UPDATE cascade_store.job j SET followed_at = finished_at
 WHERE j.job_id = %(job)s
   AND NOT EXISTS (SELECT FROM cascade_store.chunk c WHERE c.job_id = j.job_id AND c.state = 'leased')
"""


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
    """Give followers the answers of their leaders, and count them. The caller has the job and its balance
    locked, in this order.

    Where a leader has none, nothing is done: the choice that says why is written for both.
    """
    raw.execute(FOLLOW, {"job": job_id})


def note_followed(raw: Raw, job_id: int) -> None:
    """Note that a job that has just ended leaves the sweeper nothing to do, unless calls are in flight."""
    raw.execute(_NOTE, {"job": job_id})


def follow_after_the_end(connection: sa.Connection) -> bool:
    """Do so for one job that was cancelled or failed and whose last calls have settled since.

    Returns:
        Whether there was one.
    """
    raw = raw_connection(connection)
    found = raw.execute(_OWED).fetchone()
    if found is None:
        return False
    job_id = int(str(found[0]))
    read_balance(connection, job_id, lock=True)
    follow(raw, job_id)
    note_followed(raw, job_id)
    return True
