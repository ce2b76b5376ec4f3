"""What the planner reads of a job: narrow columns only, never a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray

from cascade_batch.quality import Evidence
from cascade_batch.store.columns import read_columns

Raw = psycopg.Connection[tuple[object, ...]]

_ANSWERS = """
SELECT row_no, tier_no, CASE WHEN passed THEN 1 WHEN NOT passed THEN 0 ELSE -1 END::int2,
       (value IS NOT NULL)::int::int2,
       coalesce(label_logprob, logprob_mean, 'NaN')::float4,
       ({is_free_text} AND coalesce(finish_reason, '') = 'length')::int::int2, cost_nanousd
  FROM cascade_store.answer WHERE job_id = {job}
"""
_ANSWER_COLUMNS = [
    ("row_no", "int4"),
    ("tier_no", "int2"),
    ("passed", "int2"),
    ("fits", "int2"),
    ("logprob", "float4"),
    ("truncated", "int2"),
    ("cost_nanousd", "int8"),
]


@dataclass(frozen=True, slots=True)
class JobEvidence:
    """All that is known of a job's rows; arrays over N rows and T tiers.

    Attributes:
        worst_nanousd: Worst case of asking, [N, T].
        evidence: What the held answers show.
        asked: Whether a tier answered or refused a row for good, [N, T].
        cost_nanousd: Cost of the held answers, 0 where none is held, [N, T].
    """

    worst_nanousd: NDArray[np.int64]
    evidence: Evidence
    asked: NDArray[np.bool_]
    cost_nanousd: NDArray[np.int64]


def read_worst_cases(raw: Raw, job_id: int, tiers: int) -> NDArray[np.int64]:
    """Worst case of each row on each tier, [N, T]."""
    names = [(f"tier_{i}", "int8") for i in range(tiers)]
    picked = ", ".join(f"worst_nanousd[{i + 1}]" for i in range(tiers))
    columns = read_columns(
        raw,
        f"SELECT {picked} FROM cascade_store.row WHERE job_id = {int(job_id)} ORDER BY row_no",  # noqa: S608
        names,
    )
    return np.stack([columns[name].astype(np.int64) for name, _ in names], axis=1)


def read_evidence(raw: Raw, job_id: int, tiers: int, *, is_free_text: bool) -> JobEvidence:
    """Everything that the planner needs of one job.

    Args:
        is_free_text: Any text fits the job's output, so that only the finish reason tells a cut-off
            answer from a whole one.
    """
    worst = read_worst_cases(raw, job_id, tiers)
    shape = worst.shape
    answers = read_columns(
        raw, _ANSWERS.format(job=int(job_id), is_free_text=bool(is_free_text)), _ANSWER_COLUMNS
    )
    refused = read_columns(
        raw,
        f"SELECT row_no, tier_no FROM cascade_store.refusal WHERE job_id = {int(job_id)}",  # noqa: S608
        [("row_no", "int4"), ("tier_no", "int2")],
    )
    at = (answers["row_no"], answers["tier_no"])
    held = np.zeros(shape, dtype=np.bool_)
    held[at] = True
    asked = held.copy()
    asked[refused["row_no"], refused["tier_no"]] = True
    passed = np.full(shape, np.nan)
    passed[at] = np.where(answers["passed"] == -1, np.nan, answers["passed"])
    logprob = np.full(shape, np.nan)
    logprob[at] = answers["logprob"]
    fits = np.zeros(shape, dtype=np.bool_)
    fits[at] = answers["fits"] == 1
    truncated = np.zeros(shape, dtype=np.bool_)
    truncated[at] = answers["truncated"] == 1
    cost = np.zeros(shape, dtype=np.int64)
    cost[at] = answers["cost_nanousd"]
    return JobEvidence(
        worst_nanousd=worst,
        evidence=Evidence(
            held=held, passed=passed, fits=fits, logprob=logprob, truncated=truncated
        ),
        asked=asked,
        cost_nanousd=cost,
    )
