"""Recorded sets, made up.

* `made_set`: rows of which some are hard, tiers that get abler and dearer, confidences that tell right from
  wrong to some degree.
"""

from __future__ import annotations

import numpy as np

from cascade_batch.replay.recorded import RecordedSet

ABILITY = (-0.3, 1.0, 2.2)
COST_NANOUSD = (1_000, 4_000, 20_000)


def made_set(
    n_rows: int,
    *,
    seed: int = 0,
    ability: tuple[float, ...] = ABILITY,
    cost_nanousd: tuple[int, ...] = COST_NANOUSD,
    with_confidence: bool = True,
) -> RecordedSet:
    rng = np.random.default_rng(seed)
    shape = (n_rows, len(ability))
    ease = rng.normal(size=n_rows)
    right = rng.random(shape) < 1 / (1 + np.exp(-(np.array(ability) + 1.5 * ease[:, None])))
    sure = rng.normal(size=shape) + 1.5 * right
    tokens = rng.uniform(0.5, 1.5, size=(n_rows, 1)) * rng.uniform(0.9, 1.1, size=shape)
    costs = np.ceil(np.array(cost_nanousd) * tokens).astype(np.int64)
    wrong_value = 2 + rng.integers(3, size=shape)
    return RecordedSet(
        name="made",
        tiers=tuple(f"tier-{no}" for no in range(len(ability))),
        stratum_names=("all",),
        score=right.astype(np.float64),
        cost_nanousd=costs,
        worst_nanousd=costs * 2,
        confidence=(-np.exp(-sure) if with_confidence else np.full(shape, np.nan)).astype(
            np.float32
        ),
        length=(100 * tokens).astype(np.float32),
        input_size=(400 * tokens[:, 0]).astype(np.float32),
        value_key=np.where(right, 1, wrong_value),
        fits=np.ones(shape, np.bool_),
        stratum=np.zeros(n_rows, np.int32),
    )
