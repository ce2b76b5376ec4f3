"""A pilot: some rows of a job that is to come, asked on every tier, to say what the whole will come to.

It is a job like any other, with a budget of its own, the policy `every` and a name that says what it is. Its
requests are those that the whole job will make, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.money import NANOUSD_PER_USD, format_usd
from cascade_batch.domain.row import Record
from cascade_batch.engine.estimate import Estimate, SampledRow
from cascade_batch.engine.evidence import JobEvidence
from cascade_batch.engine.job_view import judge_costs, labels_of
from cascade_batch.engine.jobs import find_job
from cascade_batch.engine.row_bounds import Reader
from cascade_batch.engine.status import job_status
from cascade_batch.errors import BudgetError
from cascade_batch.policy.pilot import WORTH_DOUBLING, Prediction, pilot_rows, predict
from cascade_batch.policy.view import UNKNOWN, Bools, JobView, Labels, Marks
from cascade_batch.store.engine import raw_connection

SAMPLE_ROWS = 2_000
"""Rows that a pilot is drawn from, and that stand for those that it does not ask."""
PILOT_ROWS = 200
_LEAST_ROWS = 30
_LIKELY_MARGIN = 1.3
"""Likely costs are guesses: a pilot plans with so much more."""
_MOST_VIEW_ROWS = 20_000
"""Rows that stand for a large job."""
_WIDTH = 1.645
_LONGEST_BYTES = 63
RULE = f"the least budget of which twice as much is expected to bring less than {WORTH_DOUBLING} quality"
UNMEASURED_RULE = (
    f"the least budget of which twice as much moves the curve by less than {WORTH_DOUBLING}"
)


def draw_pilot(
    spec: JobSpec, found: Estimate, pilot_nanousd: int, *, most: int = PILOT_ROWS
) -> list[SampledRow]:
    """Draw as many rows as the money is likely to ask on every tier.

    Args:
        found: What the data set is like; its sample is drawn from.
        pilot_nanousd: What the pilot may spend.
        most: Rows that are enough.

    Raises:
        BudgetError: The money does not carry a pilot that could tell anything; the hint says what would.
    """
    sample = found.sample
    likely = float(np.mean([sum(row.likely_nanousd) for row in sample]))
    if spec.judge_tier_no is not None:
        judge = float(np.mean([row.likely_nanousd[spec.judge_tier_no] for row in sample]))
        likely += judge * len(spec.tiers)
    fence = float(np.mean([min(row.worst_nanousd) for row in sample]))
    # A row is asked on every tier, and the dearest call has to be reserved at worst case.
    dearest = max(max(row.worst_nanousd) for row in sample)
    each = max(likely * _LIKELY_MARGIN, fence * _LIKELY_MARGIN, 1e-9)
    rows = min(int((pilot_nanousd - dearest) / each), most, len(sample))
    least = min(_LEAST_ROWS, len(sample))
    if rows < least:
        needed = math.ceil((each * least + dearest) / 10**7) / 100
        raise BudgetError(
            f"{format_usd(pilot_nanousd)} is likely to be enough for {max(rows, 0)} rows on every tier; a"
            f" pilot needs {least}, as fewer say too little about the rest of the data.",
            hint=f"Give the pilot ${needed:.2f} or more.",
        )
    has_gold = np.array([row.has_gold for row in sample], dtype=np.bool_)
    return [sample[no] for no in pilot_rows(has_gold, rows, spec.seed).tolist()]


def pilot_spec(spec: JobSpec, pilot_nanousd: int) -> JobSpec:
    """The pilot's specification: the job's, but for name, budget and policy."""
    name = spec.name.encode()[: _LONGEST_BYTES - len("-pilot-99")].decode(errors="ignore")
    return spec.model_copy(
        update={
            "name": f"{name}-pilot",
            "budget_nanousd": pilot_nanousd,
            "policy": "every",
            "notify": (),
        }
    )


def pilot_reader(rows: Sequence[SampledRow]) -> Reader:
    """Gives a pilot its rows."""

    def read(*, check: Callable[[Record], None]) -> Iterator[Record]:
        for row in rows:
            check(row.record)
            yield row.record

    return read


def hear_pilot(
    engine: sa.Engine,
    name: str,
    spec: JobSpec,
    found: Estimate,
    asked: Sequence[SampledRow],
    *,
    has_budget: bool,
) -> dict[str, Any]:
    """What a pilot that is over tells of the job to come.

    Args:
        name: The pilot's.
        spec: The job to come.
        found: What its data set is like.
        asked: The pilot's rows.
        has_budget: Whether the job has a budget, to look at among others.

    Returns:
        `job`, the pilot's name; `rows`; `spent_usd`; `labels`, where the word on answers comes from;
        `tiers`, what was measured of each; `measured` and `points` as of `job_frontier`, for budgets of the
        job to come; and `recommended`: a `budget_usd` with the `quality`, `low` and `high` expected of it,
        and the `rule` that it was found by.
    """
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        job = find_job(connection, name)
        status = job_status(connection, name)
        raw = raw_connection(connection)
        known = JobEvidence(raw, job.job_id, job.spec)
        known.update(raw)
    view = _view_of_the_whole(spec, known, asked, found)
    prediction = predict(
        view,
        rows=found.rows,
        least_nanousd=found.minimum_budget_nanousd,
        own_nanousd=spec.budget_nanousd if has_budget else None,
        seed=spec.seed,
    )
    return {
        "job": name,
        "rows": len(asked),
        "spent_usd": status["spent_usd"],
        "labels": view.labels.name.lower(),
        "tiers": {
            tier.name: _tier(no, known, view.labels, status["tiers"][tier.name])
            for no, tier in enumerate(spec.tiers)
        },
        **_as_json(prediction),
    }


def _view_of_the_whole(
    spec: JobSpec, known: JobEvidence, asked: Sequence[SampledRow], found: Estimate
) -> JobView:
    """The pilot's rows with their answers, and rows without any that stand for the job's: the sample's,
    as often as it takes."""
    n_asked, n_others = len(asked), min(found.rows, _MOST_VIEW_ROWS)
    others = found.sample
    if len(others) != n_others:
        draw = np.random.default_rng((spec.seed, 9)).integers(0, len(others), n_others)
        others = [others[no] for no in draw.tolist()]
    rows = [*asked, *others]
    n_rows = len(rows)
    groups: dict[bytes, int] = {}

    def whole(part: NDArray[Any], nothing: object) -> NDArray[Any]:
        full = np.full((n_rows, len(spec.tiers)), nothing, dtype=part.dtype)
        full[:n_asked] = part
        return full

    has_gold = np.array([row.has_gold for row in rows], dtype=np.bool_)
    labels = labels_of(spec, has_gold)
    decides = labels in (Labels.CHECK, Labels.JUDGE)
    held = whole(known.held, nothing=False)
    none = np.zeros_like(held)
    return JobView(
        labels=labels,
        held=held,
        barred=whole(known.held | known.refused, nothing=False),
        in_flight=none,
        verdict=whole(known.passed, UNKNOWN) if decides else np.full(held.shape, UNKNOWN, np.int8),
        gold=whole(known.matches_gold, UNKNOWN),
        has_gold=has_gold,
        fits=whole(known.fits, nothing=False),
        truncated=whole(known.truncated, nothing=False),
        confidence=whole(known.confidence, np.nan),
        length=whole(known.length, np.nan),
        value_key=whole(known.value_key, 0),
        resampled=np.full(held.shape, UNKNOWN, np.int8),
        may_resample=none,
        input_size=np.array([row.input_bytes for row in rows], dtype=np.float32),
        stratum=np.array([groups.setdefault(row.group, len(groups)) for row in rows], np.int32),
        unjudged=none,
        judge_nanousd=np.full(n_rows, judge_costs(known, spec)[0], dtype=np.int64),
        worst_nanousd=np.array([row.worst_nanousd for row in rows], dtype=np.int64),
        cost_nanousd=whole(known.cost_nanousd, 0),
        free_nanousd=0,
        fence_nanousd=np.zeros(n_rows, dtype=np.int64),
        check_is_gold=labels is Labels.CHECK and spec.check_needs_gold,
    )


def _tier(no: int, known: JobEvidence, labels: Labels, status: dict[str, Any]) -> dict[str, Any]:
    """What a pilot measured of a tier. `accuracy` with `low` and `high` (90 %) is of answers that gold, a
    check or a judge had a word on; `agreement` is with the dearest tier; both are null where there is nothing
    to count."""
    held = known.held[:, no]
    answers = int(held.sum())
    marks: Marks = (known.passed if labels in (Labels.CHECK, Labels.JUDGE) else known.matches_gold)[
        held, no
    ]
    right, marked = int((marks == 1).sum()), int((marks >= 0).sum())
    low, high = _wilson(right, marked)
    dearest = len(known.held.T) - 1
    both: Bools = held & known.held[:, dearest]
    same = known.value_key[both, no] == known.value_key[both, dearest]
    same &= known.value_key[both, no] != 0
    cost = int(known.cost_nanousd[held, no].sum())
    worst = int(known.worst_nanousd[held, no].sum())
    return {
        "answers": answers,
        "accuracy": right / marked if marked else None,
        "low": low,
        "high": high,
        "agreement": float(same.mean()) if same.size and no != dearest else None,
        "unfit": float((~known.fits[held, no]).mean()) if answers else None,
        "usd_per_answer": cost / answers / NANOUSD_PER_USD if answers else None,
        "share_of_worst_case": cost / worst if worst else None,
        "latency_ms_p50": status["latency_ms_p50"],
        "latency_ms_p95": status["latency_ms_p95"],
    }


def _wilson(right: int, marked: int) -> tuple[float | None, float | None]:
    """90 % interval of a share (Wilson 1927)."""
    if not marked:
        return None, None
    share, z2 = right / marked, _WIDTH**2
    middle = (share + z2 / (2 * marked)) / (1 + z2 / marked)
    half = (
        _WIDTH * math.sqrt(share * (1 - share) / marked + z2 / (4 * marked**2)) / (1 + z2 / marked)
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _as_json(found: Prediction) -> dict[str, Any]:
    quality, low, high = found.at(found.enough_nanousd)
    return {
        "measured": found.is_measured,
        "points": [
            {
                "budget_usd": budget / NANOUSD_PER_USD,
                "quality": quality,
                "low": low,
                "high": high,
                "supported": bool(supported),
            }
            for budget, quality, low, high, supported in zip(
                found.budget_nanousd.tolist(),
                found.quality.tolist(),
                found.low.tolist(),
                found.high.tolist(),
                found.supported.tolist(),
                strict=True,
            )
        ],
        "recommended": {
            "budget_usd": found.enough_nanousd / NANOUSD_PER_USD,
            "quality": quality,
            "low": low,
            "high": high,
            "rule": RULE if found.is_measured else UNMEASURED_RULE,
        },
    }
