"""Which answer stands for each row, written in bulk when a job finishes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from cascade_batch.store.columns import write_columns
from cascade_batch.store.failures import UNFUNDED

_UPSERT = """
INSERT INTO cascade_store.choice AS c (job_id, row_no, tier_no, quality, error)
SELECT %(job)s, n.row_no, nullif(n.tier_no, -1), nullif(n.quality, 'NaN'),
       CASE WHEN n.tier_no < 0 THEN coalesce((
           SELECT replace(string_agg(t.name || ': ' || coalesce(f.message, t.stopped), '; '
                                     ORDER BY t.tier_no), '.; ', '; ')
             FROM cascade_store.job_tier t
             LEFT JOIN cascade_store.refusal f
               ON f.job_id = t.job_id AND f.tier_no = t.tier_no AND f.row_no = coalesce((
                  SELECT w.leader_no FROM cascade_store.follower w
                   WHERE w.job_id = %(job)s AND w.row_no = n.row_no), n.row_no)
            WHERE t.job_id = %(job)s AND coalesce(f.message, t.stopped) IS NOT NULL),
           %(unfunded)s) END
  FROM new_choice n
ON CONFLICT (job_id, row_no) DO UPDATE
   SET tier_no = excluded.tier_no, quality = excluded.quality, error = excluded.error
 WHERE (c.tier_no, c.quality, c.error)
       IS DISTINCT FROM (excluded.tier_no, excluded.quality, excluded.error)
"""


@dataclass(frozen=True, slots=True)
class ChoiceCounts:
    """Rows without an answer; `unfunded`: those that some tier could still have been asked about."""

    failed: int
    unfunded: int


def write_choices(
    raw: psycopg.Connection[tuple[object, ...]],
    *,
    job_id: int,
    tier_no: NDArray[np.int16],
    quality: NDArray[np.float64],
    is_askable: NDArray[np.bool_],
) -> ChoiceCounts:
    """Write the choice of every row. Locks nothing that anybody else wants.

    Args:
        tier_no: [N] tier of the answer that stands, -1 where there is none.
        quality: [N] its quality, NaN where none is known.
        is_askable: [N] whether some tier has neither answered nor refused the row.
    """
    raw.execute("DROP TABLE IF EXISTS new_choice")
    raw.execute(
        "CREATE TEMPORARY TABLE new_choice (row_no integer, tier_no smallint, quality real)"
        " ON COMMIT DROP"
    )
    write_columns(
        raw,
        sql.Identifier("new_choice"),
        [("row_no", "int4"), ("tier_no", "int2"), ("quality", "float4")],
        [np.arange(len(tier_no)), tier_no, quality],
    )
    raw.execute(_UPSERT, {"job": job_id, "unfunded": UNFUNDED})
    failed = tier_no < 0
    return ChoiceCounts(int(failed.sum()), int((failed & is_askable).sum()))
