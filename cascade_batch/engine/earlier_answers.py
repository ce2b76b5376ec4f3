"""Answers that an earlier job bought to the very same questions, taken over while a job is submitted.

**Which.** Of tiers with the same fingerprint, for rows with the same request key (`request_keys` says what
both stand for): first answers, bought and not taken over themselves, that fit the declared output and were
neither cut off nor refused, of any job that is there, running or over, as far as they are committed, and
not older than `Settings.cache_days`. So they live with the job that bought them, and go with it. An
answer's second sample is never taken over: it is to be another draw; what a judge said is not, either. What
the check and gold say depends on this job and is asked again here; nothing else of an answer does.

**Money.** They cost nothing. `saved_nanousd` is what they cost when they were bought. All happens in the
transaction that stores the job, so that a crash leaves nothing half done.

**No index on keys.** It would hold 40 bytes a row, for ever, in every job, to find what most jobs never
look for. Tiers of earlier jobs are found by an index on fingerprints, so that nothing is read where none
has the same; where one has, its rows are read once and joined by hash: a pass over that job's table, which
is what one who asks the same again a thousand times over would have to pay for an index to avoid. Jobs that
were over before the oldest answer that may be taken are not read at all. Which answers are taken is found by
what is narrow; their texts are fetched for them alone, by their key, and so are they when they are copied: a
block of rows never costs a pass over a table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from cascade_batch.domain.answer import Judgement
from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.text import clean_text
from cascade_batch.engine.followers import COPIED
from cascade_batch.engine.request_keys import KEY_BYTES, Rows
from cascade_batch.quality import Judge, make_judge
from cascade_batch.store import arrays

logger = logging.getLogger(__name__)

Raw = psycopg.Connection[tuple[object, ...]]

_BLOCK_ROWS = 5000
_UNUSABLE = ("length", "content_filter", "refusal")
_LATE_S = 86400.0
"""Calls in flight settle after their job is over: so long at most, and with much to spare."""
_SOURCES = """
SELECT t.tier_no, t.key_no, s.job_id, s.tier_no, s.key_no
  FROM cascade_store.job_tier t
  JOIN cascade_store.job_tier s ON s.fingerprint = t.fingerprint AND s.job_id <> t.job_id
  JOIN cascade_store.job j ON j.job_id = s.job_id
 WHERE t.job_id = %(job)s AND s.answers > s.cached AND NOT j.deleting
   AND coalesce(j.finished_at, 'infinity')
       > clock_timestamp() - make_interval(secs => %(days)s * 86400.0 + %(late_s)s)
 ORDER BY t.tier_no
"""
_THAT_ANSWER = """o.job_id = {job} AND o.job_id = ANY (%(jobs)s::integer[]) AND o.row_no = {row}
              AND o.tier_no = {tier} AND o.sample_no = 0
            LIMIT 1"""
_FOUND = f"""
SELECT u.row_no, u.gold, u.job_id, u.from_row, u.from_tier, a.text, a.finish_reason
  FROM (
    SELECT DISTINCT ON (n.row_no) n.row_no, n.gold, a.job_id, a.row_no AS from_row, a.tier_no AS from_tier
      FROM unnest(%(jobs)s::integer[], %(tiers)s::smallint[], %(keys)s::smallint[])
        AS s(job_id, tier_no, key_no)
      JOIN cascade_store.row e
        ON e.job_id = s.job_id AND e.job_id = ANY (%(jobs)s::integer[]) AND e.request_key IS NOT NULL
      JOIN cascade_store.row n
        ON n.job_id = %(job)s AND n.request_key IS NOT NULL
       AND substring(n.request_key, %(key)s::integer * {KEY_BYTES} + 1, {KEY_BYTES})
         = substring(e.request_key, s.key_no * {KEY_BYTES} + 1, {KEY_BYTES})
      JOIN cascade_store.answer a
        ON a.job_id = s.job_id AND a.job_id = ANY (%(jobs)s::integer[]) AND a.row_no = e.row_no
       AND a.tier_no = s.tier_no AND a.sample_no = 0
     WHERE a.saved_nanousd IS NULL AND a.value IS NOT NULL
       AND coalesce(a.finish_reason, '') <> ALL (%(unusable)s::text[])
       AND a.answered_at > clock_timestamp() - make_interval(secs => %(days)s * 86400.0)
       AND (%(of_rows)s::integer[] IS NULL OR n.row_no = ANY (%(of_rows)s::integer[]))
       AND NOT EXISTS (SELECT FROM cascade_store.follower f
                        WHERE f.job_id = %(job)s AND f.row_no = n.row_no)
     ORDER BY n.row_no, a.answered_at DESC, a.job_id DESC) u
 CROSS JOIN LATERAL (
           SELECT o.text, o.finish_reason FROM cascade_store.answer o
            WHERE {_THAT_ANSWER.format(job="u.job_id", row="u.from_row", tier="u.from_tier")}) a
"""  # noqa: S608
_WITH_WORD = (
    COPIED.replace("passed,", "w.is_passed,")
    .replace("error,", "w.said,")
    .replace("matches_gold,", "w.is_gold,")
)
_TAKE = f"""
WITH taken AS (
    INSERT INTO cascade_store.answer (
        job_id, row_no, tier_no, sample_no, cost_nanousd, chunk_id, answered_at, saved_nanousd, {COPIED})
    SELECT %(job)s, w.row_no, %(tier)s, 0, 0, 0, a.answered_at, a.cost_nanousd,
           {_WITH_WORD}
      FROM unnest(%(rows)s::integer[], %(from_jobs)s::integer[], %(from_rows)s::integer[],
                  %(from_tiers)s::smallint[], %(passed)s::boolean[], %(gold)s::boolean[], %(errors)s::text[])
        AS w(row_no, from_job, from_row, from_tier, is_passed, is_gold, said)
     CROSS JOIN LATERAL (
               SELECT o.* FROM cascade_store.answer o
                WHERE {_THAT_ANSWER.format(job="w.from_job", row="w.from_row", tier="w.from_tier")}) a
    RETURNING row_no, saved_nanousd
), counted AS (
    SELECT count(*) AS answers, coalesce(sum(n.saved_nanousd), 0)::bigint AS saved_nanousd,
           count(*) FILTER (WHERE NOT EXISTS (
               SELECT FROM cascade_store.answer o
                WHERE o.job_id = %(job)s AND o.row_no = n.row_no)) AS first_answers
      FROM taken n
), by_tier AS (
    UPDATE cascade_store.job_tier t
       SET answers = t.answers + n.answers, cached = t.cached + n.answers,
           first_answers = t.first_answers + n.first_answers
      FROM counted n WHERE t.job_id = %(job)s AND t.tier_no = %(tier)s
), by_job AS (
    UPDATE cascade_store.job j SET saved_nanousd = j.saved_nanousd + n.saved_nanousd
      FROM counted n WHERE j.job_id = %(job)s
)
SELECT row_no FROM taken
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Sources:
    """Tiers of earlier jobs that were asked what a tier of this one would be."""

    tier_no: int
    key_no: int
    jobs: list[int]
    tiers: list[int]
    keys: list[int]


@dataclass(frozen=True, slots=True)
class EarlierAnswers:
    """Answers of one tier that can be taken over; a block of them."""

    sources: _Sources
    block: Sequence[tuple[Any, ...]]


def find_earlier_answers(
    raw: Raw, job_id: int, *, days: float, rows: Rows | None = None
) -> Iterator[EarlierAnswers]:
    """Look for what earlier jobs bought. Locks nothing, and is what takes long.

    Args:
        raw: Holds the transaction that stores the rows; followers and fingerprints are stored already.
        days: How old an answer may be.
        rows: Look for these rows only; None: for all.
    """
    for sources in _sources(raw, job_id, days):
        for block in _found(raw, job_id, sources, days, rows):
            yield EarlierAnswers(sources, block)


def take_answers(raw: Raw, job_id: int, spec: JobSpec, found: Iterable[EarlierAnswers]) -> Rows:
    """Give a job what was found for it, once.

    Args:
        raw: The same transaction; if others can see the job already, it has the job and its balance locked,
            in this order.

    Returns:
        The rows that have an answer now, in ascending order.
    """
    judge: Judge | None = None
    taken: set[int] = set()
    for one in found:
        judge = judge or make_judge(spec.output, spec.check, check_path=spec.check_path)
        taken |= _take(raw, job_id, one, judge)
    return np.array(sorted(taken), dtype=np.int64)


def _sources(raw: Raw, job_id: int, days: float) -> list[_Sources]:
    found: dict[int, _Sources] = {}
    rows: list[tuple[Any, ...]] = raw.execute(
        _SOURCES, {"job": job_id, "days": days, "late_s": _LATE_S}
    ).fetchall()
    for tier_no, key_no, earlier, earlier_tier, earlier_key in rows:
        one = found.setdefault(tier_no, _Sources(tier_no, key_no, [], [], []))
        one.jobs.append(earlier)
        one.tiers.append(earlier_tier)
        one.keys.append(earlier_key)
    return list(found.values())


def _found(
    raw: Raw, job_id: int, sources: _Sources, days: float, rows: Rows | None
) -> Iterator[Sequence[tuple[Any, ...]]]:
    with raw.cursor(name="earlier_answers") as cursor:
        # Tables that were just made have no statistics, and a loop over pairs of rows has no end.
        raw.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(
            _FOUND,
            {
                "job": job_id,
                "key": sources.key_no,
                "jobs": sources.jobs,
                "tiers": sources.tiers,
                "keys": sources.keys,
                "unusable": list(_UNUSABLE),
                "days": days,
                "of_rows": None if rows is None else rows.tolist(),
            },
        )
        raw.execute("SET LOCAL enable_nestloop = on")
        while block := cursor.fetchmany(_BLOCK_ROWS):
            yield block


def _take(raw: Raw, job_id: int, found: EarlierAnswers, judge: Judge) -> set[int]:
    rows, golds, jobs, from_rows, from_tiers, texts, reasons = zip(*found.block, strict=True)
    judgements = [
        _judged(judge, text or "", gold, reason)
        for text, gold, reason in zip(texts, golds, reasons, strict=True)
    ]
    taken = raw.execute(
        _TAKE,
        {
            "job": job_id,
            "tier": found.sources.tier_no,
            "jobs": found.sources.jobs,
            "rows": list(rows),
            "from_jobs": list(jobs),
            "from_rows": list(from_rows),
            "from_tiers": list(from_tiers),
            "passed": arrays.booleans(said.passed for said in judgements),
            "gold": arrays.booleans(said.matches_gold for said in judgements),
            "errors": clean_text(arrays.texts(said.error for said in judgements)),
        },
    )
    return {int(str(row_no)) for (row_no,) in taken.fetchall()}


def _judged(judge: Judge, text: str, gold: str | None, finish_reason: str | None) -> Judgement:
    try:
        return judge.judge(text, gold, finish_reason=finish_reason)
    except (Exception, SystemExit) as error:
        # As with answers that are bought: whatever is wrong with the judge, the text is kept.
        logger.exception("an earlier answer can't be judged")
        reason = f"the answer can't be judged: {type(error).__name__}: {error}"
        return Judgement(None, None, clean_text(reason), has_value=False)
