"""Rows without an answer: which ones, why, and what they have in common.

One definition, for telling of them and for asking them again.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal["money", "refused", "lost", "stopped"]
"""What a row came to nothing by: `money` ran out before it could be asked; tiers `refused` it; calls for it
were `lost` (timeout, broken connection, killed worker) until it was given up; its tiers were `stopped`."""

UNFUNDED = "the money ran out before this row could be asked"

# What differs in tokens that hold a digit (a row's number, a time, the id of a request) is of one kind; the
# status of HTTP says too much to be left out.
KIND = r"regexp_replace(left({text}, 300), '(?<!HTTP )\m\w*\d\w*', '0', 'g')"

# Whoever follows another row fails for that one's reasons.
_ASKED = """coalesce((SELECT w.leader_no FROM cascade_store.follower w
                     WHERE w.job_id = %(job)s AND w.row_no = c.row_no), c.row_no)"""
FAILED = rf"""
SELECT c.row_no, c.error,
       CASE WHEN c.error = '{UNFUNDED}' THEN 'money'
            WHEN NOT EXISTS (SELECT FROM cascade_store.refusal f
                              WHERE f.job_id = %(job)s AND f.row_no = {_ASKED}) THEN 'stopped'
            WHEN EXISTS (SELECT FROM cascade_store.lost_call l
                          WHERE l.job_id = %(job)s AND l.row_no = {_ASKED} AND NOT l.forgiven)
                 THEN 'lost'
            ELSE 'refused' END AS reason,
       {KIND.format(text="c.error")} AS kind
  FROM cascade_store.choice c
 WHERE c.job_id = %(job)s AND c.tier_no IS NULL
   AND NOT EXISTS (SELECT FROM cascade_store.answer a
                    WHERE a.job_id = %(job)s AND a.row_no = c.row_no)
"""
"""The job's rows that failed, as the driver takes it: `row_no`, `error`, `reason`, and `kind`, which is the
error without what is its own."""

IS_OF_REASON = rf"""(%(reason)s::text IS NULL OR {{reason}} = lower(%(reason)s)
    OR strpos(lower({{kind}}), lower({KIND.format(text="%(reason)s")})) > 0)"""
"""Whether a failure is one that `--reason TEXT` means: by its reason's name, or by words of its message."""
