"""What the planner reads of a job: narrow columns only, never a text, and nothing twice.

**How nothing is missed.** Answers are only ever added, and always in the turn of a chunk, in the transaction
that raises the chunk's `turn_no`. So whoever sees a chunk at turn 7 in a snapshot sees all answers of its
first seven turns, however late they were committed, and has to look for answers only of chunks whose turn is
another one than when they were last read. Chunks are added by the planner alone, under its lock: a chunk
that is not known yet has a higher id than all that are. (Neither ids nor times of answers would do: who
began first may commit last.) Refusals may be taken back (`retry`) and are few: they are read anew each time.

**Answers that were not bought** (an earlier job's, see `earlier_answers`) are answers like any other, with
what they cost when they were bought: prices are learnt from them, and what was paid is for the ledger to say.
Nothing was left to chance here, so that no draw is logged for them: which rows the earlier job asked is not
known to be a fair sample, and they count as rows that a plan chose. Rows that follow another one are bought
nothing for; only their leaders are planned.

What is read stays in memory as one array per column over rows and tiers; a planner in another process begins
with nothing and comes to the same arrays. If a chunk is gone, or at an earlier turn than it was (a database
restored from a backup), all is read anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.followers import read_leaders
from cascade_batch.engine.open_work import ChunkState, read_chunks
from cascade_batch.policy.view import UNKNOWN, Action
from cascade_batch.store import arrays
from cascade_batch.store.columns import read_columns, stream_columns

Raw = psycopg.Connection[tuple[object, ...]]

_ANSWERS = """
SELECT a.row_no, a.tier_no, a.sample_no, {passed}, {gold},
       (a.value IS NOT NULL)::int::int2,
       ({is_free_text} AND coalesce(a.finish_reason, '') = 'length')::int::int2,
       coalesce(a.label_logprob, a.logprob_mean, 'NaN')::float4,
       coalesce(a.output_tokens::float4, 'NaN'), a.value_key,
       a.cost_nanousd + coalesce(a.saved_nanousd, 0)
  FROM {source} WHERE a.job_id = {job} {which}
"""
_ANSWER_COLUMNS = [
    ("row_no", "int4"),
    ("tier_no", "int2"),
    ("sample_no", "int2"),
    ("passed", "int2"),
    ("matches_gold", "int2"),
    ("fits", "int2"),
    ("truncated", "int2"),
    ("confidence", "float4"),
    ("length", "float4"),
    ("value_key", "int8"),
    ("cost_nanousd", "int8"),
]
_VERDICTS = """
SELECT a.row_no, a.tier_no, {passed}, a.cost_nanousd FROM {source} WHERE a.job_id = {job} {which}
"""
_VERDICT_COLUMNS = [
    ("row_no", "int4"),
    ("tier_no", "int2"),
    ("passed", "int2"),
    ("cost_nanousd", "int8"),
]
_ROWS = r"""
SELECT {worst}, coalesce(input_bytes, octet_length(input::text))::float4, coalesce(stratum, 0),
       (coalesce(gold, '') ~ '\S')::int::int2
  FROM cascade_store.row WHERE job_id = {job} ORDER BY row_no
"""
_LOOK_UP_AT_MOST = 50_000
"""Answers up to which they are looked up one by one; to find more, the whole table is read."""
_MOST_CELLS = 20_000_000
"""Rows times tiers that a process keeps in memory, at some forty bytes each, beside the job at hand."""


def _mark(expression: str) -> str:
    return f"(CASE WHEN {expression} THEN 1 WHEN NOT {expression} THEN 0 ELSE {UNKNOWN} END)::int2"


class JobEvidence:
    """All that is known of a job's rows and answers; N rows, T tiers, tiers cheap to dear.

    Attributes:
        worst_nanousd: [N, T] worst case of asking.
        input_bytes: [N] size of the row's request to the first tier.
        stratum: [N] number of the row's group, 0 where there are none.
        has_gold: [N] the right answer is known.
        held: [N, T] an answer is held. Where none is, the arrays below hold what stands for nothing.
        passed: [N, T] the check's word, a judge's as soon as there is one: 1, 0 or `UNKNOWN`.
        matches_gold: [N, T] gold's word: 1, 0 or `UNKNOWN`.
        fits: [N, T] the answer fits the declared output.
        truncated: [N, T] free text that was cut off.
        confidence: [N, T] the log-probability that stands for the answer, else NaN.
        length: [N, T] its output tokens, else NaN.
        value_key: [N, T] equal where values are; 0 where there is none.
        cost_nanousd: [N, T] what it cost, or had cost when it was bought.
        refused: [N, T] the tier refused the row for good.
        sampled: [N, T] the tier answered the row a second time.
        second_key: [N, T] the `value_key` of that; 0 where there is none.
        judged: [N, T] the judge was asked about the answer, whatever it said.
        judging_nanousd: What the judge's words cost together.
        leader: [N] the row that asks the same, a row's own number where it asks for itself; None: all do.
        open: Chunks that are not done, by id.
    """

    def __init__(self, raw: Raw, job_id: int, spec: JobSpec) -> None:
        self.job_id = job_id
        self._spec = spec
        self._read_rows(raw, len(spec.tiers))
        self.leader = read_leaders(raw, job_id, len(self.has_gold))
        shape = self.worst_nanousd.shape
        self.held = np.zeros(shape, dtype=np.bool_)
        self.passed = np.full(shape, UNKNOWN, dtype=np.int8)
        self.matches_gold = np.full(shape, UNKNOWN, dtype=np.int8)
        self.fits = np.zeros(shape, dtype=np.bool_)
        self.truncated = np.zeros(shape, dtype=np.bool_)
        self.confidence = np.full(shape, np.nan, dtype=np.float32)
        self.length = np.full(shape, np.nan, dtype=np.float32)
        self.value_key = np.zeros(shape, dtype=np.int64)
        self.cost_nanousd = np.zeros(shape, dtype=np.int64)
        self.refused = np.zeros(shape, dtype=np.bool_)
        self.sampled = np.zeros(shape, dtype=np.bool_)
        self.second_key = np.zeros(shape, dtype=np.int64)
        self.judged = np.zeros(shape, dtype=np.bool_)
        self.judging_nanousd = 0
        self.open: dict[int, ChunkState] = {}
        self._last_chunk_id: int | None = None

    def update(self, raw: Raw) -> bool:
        """Read what is new, in the transaction's snapshot.

        Returns:
            False if what is known is no part of what is there now: it has to be read anew.
        """
        is_first = self._last_chunk_id is None
        found, last = read_chunks(raw, self.job_id, self.open, self._last_chunk_id)
        if not self.open.keys() <= found.keys() or any(
            found[chunk_id].turn_no < known.turn_no for chunk_id, known in self.open.items()
        ):
            return False
        if is_first:
            self._read_answers(raw, "cascade_store.answer a", "")
            self._read_verdicts(raw, "cascade_store.verdict a", "")
        else:
            turned = [
                chunk
                for chunk_id, chunk in found.items()
                if chunk.turn_no > (self.open[chunk_id].turn_no if chunk_id in self.open else 0)
            ]
            for read, table, chunks in (
                (self._read_answers, "answer", [c for c in turned if c.action != Action.JUDGE]),
                (self._read_verdicts, "verdict", [c for c in turned if c.action == Action.JUDGE]),
            ):
                if chunks:
                    read(raw, *_turned(table, chunks))
        self._read_refusals(raw)
        self.open = {chunk_id: chunk for chunk_id, chunk in found.items() if not chunk.is_done}
        self._last_chunk_id = last
        return True

    def resampled(self) -> NDArray[np.int8]:
        """[N, T] whether a tier's second answer has the value of its first: 1, 0, or `UNKNOWN` where either
        has none. A second answer without a value differs from a first one that has one."""
        if not self.sampled.any():
            return np.full(self.sampled.shape, UNKNOWN, dtype=np.int8)
        first = self.value_key
        compared = np.where(self.second_key == first, 1, 0)
        return np.where(self.sampled & (first != 0), compared, UNKNOWN).astype(np.int8)

    def _read_answers(self, raw: Raw, source: str, which: str) -> None:
        # Gold's word was the check's, as far as it needs gold, before it was kept apart.
        gold = (
            "coalesce(a.matches_gold, a.passed)"
            if self._spec.check_needs_gold
            else "a.matches_gold"
        )
        query = _ANSWERS.format(
            passed=_mark("a.passed"),
            gold=_mark(gold),
            is_free_text=self._spec.output.is_free_text,
            source=source,
            job=int(self.job_id),
            which=which,
        )
        for found in stream_columns(raw, query, _ANSWER_COLUMNS):
            self._take(found)

    def _take(self, found: dict[str, NDArray[np.generic]]) -> None:
        is_further = found["sample_no"] != 0
        if is_further.any():
            at = (found["row_no"][is_further], found["tier_no"][is_further])
            self.sampled[at] = True
            self.second_key[at] = found["value_key"][is_further]
            found = {name: column[~is_further] for name, column in found.items()}
        row_no = found["row_no"]
        at = (row_no, found["tier_no"])
        self.held[at] = True
        if self._spec.judge_tier_no is None:
            self.passed[at] = found["passed"]
        self.matches_gold[at] = np.where(self.has_gold[row_no], found["matches_gold"], UNKNOWN)
        self.fits[at] = found["fits"] == 1
        self.truncated[at] = found["truncated"] == 1
        self.confidence[at] = np.minimum(found["confidence"], np.float32(0))
        self.length[at] = found["length"]
        self.value_key[at] = found["value_key"]
        self.cost_nanousd[at] = found["cost_nanousd"]

    def _read_verdicts(self, raw: Raw, source: str, which: str) -> None:
        query = _VERDICTS.format(
            passed=_mark("a.passed"), source=source, job=int(self.job_id), which=which
        )
        for found in stream_columns(raw, query, _VERDICT_COLUMNS):
            at = (found["row_no"], found["tier_no"])
            new = ~self.judged[at]
            self.judging_nanousd += int(found["cost_nanousd"][new].sum())
            self.judged[at] = True
            self.passed[at] = found["passed"]

    def _read_refusals(self, raw: Raw) -> None:
        found = read_columns(
            raw,
            f"SELECT row_no, tier_no FROM cascade_store.refusal WHERE job_id = {int(self.job_id)}",  # noqa: S608
            [("row_no", "int4"), ("tier_no", "int2")],
        )
        self.refused[:] = False
        self.refused[found["row_no"], found["tier_no"]] = True

    def _read_rows(self, raw: Raw, tiers: int) -> None:
        names = [f"tier_{i}" for i in range(tiers)]
        found = read_columns(
            raw,
            _ROWS.format(
                job=int(self.job_id),
                worst=", ".join(f"worst_nanousd[{i + 1}]" for i in range(tiers)),
            ),
            [
                *((name, "int8") for name in names),
                ("input_bytes", "float4"),
                ("stratum", "int4"),
                ("has_gold", "int2"),
            ],
        )
        self.worst_nanousd = np.stack(
            [found.pop(name).astype(np.int64, copy=False) for name in names], axis=1
        )
        self.input_bytes = found["input_bytes"].astype(np.float32, copy=False)
        self.stratum = found["stratum"].astype(np.int32, copy=False)
        self.has_gold = found["has_gold"] == 1


def _turned(table: str, chunks: Sequence[ChunkState]) -> tuple[str, str]:
    """Where to read what these chunks brought: one by one, or, if that is much, from the whole table."""
    if sum(len(chunk.row_no) for chunk in chunks) > _LOOK_UP_AT_MOST:
        ids = arrays.numbers(chunk.chunk_id for chunk in chunks)
        return f"cascade_store.{table} a", f"AND a.chunk_id = ANY ('{ids}'::bigint[])"
    rows = arrays.numbers(np.concatenate([chunk.row_no for chunk in chunks]).tolist())
    tiers = arrays.numbers(chunk.about_tier_no for chunk in chunks for _ in chunk.row_no)
    source = (
        f"unnest('{rows}'::integer[], '{tiers}'::smallint[]) AS w(row_no, tier_no)"
        f" JOIN cascade_store.{table} a USING (row_no, tier_no)"
    )
    return source, ""


_known: WeakKeyDictionary[sa.Engine, OrderedDict[int, JobEvidence]] = WeakKeyDictionary()


def read_evidence(engine: sa.Engine, raw: Raw, job_id: int, spec: JobSpec) -> JobEvidence:
    """Everything that is known of a job, in the snapshot of the connection's transaction. For the holder of
    the planner's lock; valid until it is called again.

    Args:
        engine: The database's; what was read is kept as long as it lives.
    """
    known = _known.setdefault(engine, OrderedDict())
    # Taken out meanwhile: what fails half-way is not kept.
    evidence = known.pop(job_id, None)
    if evidence is None or not evidence.update(raw):
        evidence = JobEvidence(raw, job_id, spec)
        evidence.update(raw)
    cells = sum(other.held.size for other in known.values())
    while known and cells > _MOST_CELLS:
        cells -= known.popitem(last=False)[1].held.size
    known[job_id] = evidence
    return evidence


def forget_evidence(engine: sa.Engine, job_id: int) -> None:
    """Free the memory: the job is over."""
    _known.get(engine, OrderedDict()).pop(job_id, None)
