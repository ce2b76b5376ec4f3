"""Which answer stands for each row, written in bulk when a job finishes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray

UNFUNDED = "the money ran out before this row could be asked"

_UPSERT = """
INSERT INTO cascade_store.choice AS c (job_id, row_no, tier_no, quality, error)
SELECT %(job)s, n.row_no, n.tier_no, n.quality,
       CASE WHEN n.tier_no IS NULL THEN coalesce((
           SELECT string_agg(t.name || ': ' || coalesce(f.message, t.stopped), '; '
                             ORDER BY t.tier_no)
             FROM cascade_store.job_tier t
             LEFT JOIN cascade_store.refusal f
               ON f.job_id = t.job_id AND f.tier_no = t.tier_no AND f.row_no = n.row_no
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
    choice: NDArray[np.int16],
    quality: NDArray[np.float64],
    still_askable: NDArray[np.bool_],
) -> ChoiceCounts:
    """Write the choice of every row.

    Args:
        choice: Tier of the answer that stands, -1 where there is none, [N].
        quality: Quality of held answers, NaN where none is known, [N, T].
        still_askable: Whether some tier has neither answered nor refused the row, [N].
    """
    rows = np.arange(len(choice))
    chosen = np.where(choice >= 0, quality[rows, np.maximum(choice, 0)], np.nan)
    with raw.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS new_choice")
        cursor.execute(
            "CREATE TEMPORARY TABLE new_choice (row_no integer, tier_no smallint, quality real)"
            " ON COMMIT DROP"
        )
        with cursor.copy("COPY new_choice FROM STDIN") as copy:
            block = []
            for row_no, (tier_no, mark) in enumerate(
                zip(choice.tolist(), chosen.tolist(), strict=True)
            ):
                tier = tier_no if tier_no >= 0 else "\\N"
                shown = "\\N" if math.isnan(mark) else f"{mark:.6g}"
                block.append(f"{row_no}\t{tier}\t{shown}\n")
                if len(block) == 10_000:
                    copy.write("".join(block))
                    block.clear()
            copy.write("".join(block))
        cursor.execute(_UPSERT, {"job": job_id, "unfunded": UNFUNDED})
    failed = choice < 0
    return ChoiceCounts(int(failed.sum()), int((failed & still_askable).sum()))
