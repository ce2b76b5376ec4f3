"""Sixteen worker processes spend one budget at once, while the provider resets and hangs.

    python -m benchmarks.race [--rows 3000]

The budget covers all drafts and a tenth of the escalations that the job would like. Drafts have a price
per call, so that their worst case is what they cost and no slack of theirs feeds the escalations;
escalations have a price per token, so that a worst case is a multiple of what is billed.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers
from cascade_batch.providers.scripted import Statement

WORKERS = 16
_DRAFT = {"call": 0.00001}
_ESCALATION = {"input": 2.50, "output": 10.00}
_FAULTS = [
    {"kind": "reset", "probability": 0.01},
    {"kind": "reset_after_headers", "probability": 0.005},
    {"kind": "hang", "probability": 0.002},
]


@dataclass(frozen=True)
class RaceRun:
    """What came of the race; money in nano-dollars.

    Attributes:
        unspent_nanousd: Neither spent nor at risk.
        escalation_worst_nanousd: The dearest call's worst case.
        lost_calls: Calls whose end nobody knows.
    """

    workers: int
    rows: int
    answered: int
    budget_nanousd: int
    bill_nanousd: int
    spent_nanousd: int
    at_risk_nanousd: int
    overrun_nanousd: int
    unspent_nanousd: int
    escalation_worst_nanousd: int
    escalations_wanted: int
    escalations_bought: int
    lost_calls: int
    faults: dict[str, int]
    audit: str


def run_race(one: Rig, rows: int) -> RaceRun:
    """Run the job to its end; `one` has as many workers as are to race."""
    write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(rows)])
    prices = {"small": _DRAFT, "large": _ESCALATION}
    accuracy = {"small": 0.7, "large": 0.95}
    script = {
        "seed": 3,
        "models": {
            name: {
                "price": price,
                "latency_ms": 20,
                "simulate": {"choices": ["up", "down"], "accuracy": accuracy[name]},
            }
            for name, price in prices.items()
        },
        "faults": _FAULTS,
    }
    with provider(one, script) as server:
        tiers = [
            {
                "name": name,
                "model": name,
                "base_url": server.url,
                "price": price,
                "max_output_tokens": 4,
                "logprobs": True,
                "timeout_s": 2,
            }
            for name, price in prices.items()
        ]
        write_tiers(one, tiers)
        estimate = one.json("estimate", "data.jsonl")
        wanted = round(estimate["tiers"]["large"]["likely_usd"] * 1e9)
        budget = round(_DRAFT["call"] * 1e9) * rows + wanted // 10
        one.run(
            "submit", "data.jsonl", "--name", "race", "--budget", f"{budget / 1e9:.9f}",
            "--output", "{choices: [up, down]}", "--chunk-rows", "20",
        )  # fmt: skip
        bill = server.bill()
    worst = -(-round(estimate["tiers"]["large"]["worst_case_usd"] * 1e9) // rows)
    return _outcome(one, rows, worst, bill)


def _outcome(one: Rig, rows: int, worst_nanousd: int, bill: Statement) -> RaceRun:
    status = one.status("race")
    tiers: dict[str, Any] = status["tiers"]
    return RaceRun(
        workers=int(one.environment["CASCADE_LOCAL_WORKERS"]),
        rows=rows,
        answered=status["rows"]["answered"],
        budget_nanousd=status["budget_nanousd"],
        bill_nanousd=bill["total_nanousd"],
        spent_nanousd=status["spent_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        overrun_nanousd=status["overrun_nanousd"],
        unspent_nanousd=status["budget_nanousd"]
        - status["spent_nanousd"]
        - status["at_risk_nanousd"],
        escalation_worst_nanousd=worst_nanousd,
        escalations_wanted=rows,
        escalations_bought=tiers["large"]["answers"],
        lost_calls=sum(t["lost_calls"] for t in tiers.values()),
        faults={k: v for m in bill["models"].values() for k, v in m["faults"].items()},
        audit=one.run("audit", "race").strip(),
    )


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    given = parser.parse_args()
    with rig(CASCADE_LOCAL_WORKERS=str(WORKERS)) as one:
        run = run_race(one, given.rows)
    record("race", asdict(run))


if __name__ == "__main__":
    main()
