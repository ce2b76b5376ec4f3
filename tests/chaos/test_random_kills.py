"""Whatever dies while a job runs: it ends by itself, within its budget, with every row answered.

Blows are dealt each alone, and in combinations that a seed makes: which, after how many calls, and what the
provider does meanwhile. `CASCADE_CHAOS_RUNS` says how many seeds to try (and has every blow tried alone;
otherwise four share a job), `CASCADE_CHAOS_SEED` where to begin.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.blows import BLOWS
from tests.chaos.runs import IS_LONG, run

FIRST_SEED = int(os.environ.get("CASCADE_CHAOS_SEED", "0"))
RUNS = int(os.environ.get("CASCADE_CHAOS_RUNS", "1"))
NAMES = list(BLOWS)
TOGETHER = 1 if IS_LONG else 4
GROUPS = [NAMES[i : i + TOGETHER] for i in range(0, len(NAMES), TOGETHER)]

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("names", GROUPS, ids=", ".join)
def test_a_job_survives_each_blow(names: list[str]) -> None:
    run(FIRST_SEED, [(0.15 + 0.2 * i, name) for i, name in enumerate(names)], faults=0)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_a_job_survives_whatever_a_seed_brings(seed: int) -> None:
    chance = random.Random(seed)
    shares = sorted(chance.uniform(0.02, 0.9) for _ in range(chance.randint(1, 3)))
    run(seed, list(zip(shares, chance.sample(NAMES, len(shares)), strict=True)))
