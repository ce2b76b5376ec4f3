"""Sixteen worker processes spend one budget at once, while the provider resets and hangs.

python -m benchmarks.race
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers

WORKERS = 16
_SMALL = {"input": 0.15, "output": 0.60}
_LARGE = {"input": 2.50, "output": 10.00}


@dataclass(frozen=True)
class RaceRun:
    """What came of the race; money in nano-dollars."""

    rows: int
    answered: int
    budget_nanousd: int
    bill_nanousd: int
    spent_nanousd: int
    at_risk_nanousd: int
    unspent_nanousd: int
    dearest_worst_case_nanousd: int
    escalations_wanted: int
    escalations_bought: int
    lost_calls: int
    audit: str


def run_race(one: Rig, rows: int) -> RaceRun:
    """A budget for all drafts at worst case and a tenth of the escalations that the job would like."""
    write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(rows)])
    script = {
        "seed": 3,
        "models": {
            name: {
                "price": price,
                "latency_ms": 20,
                "simulate": {"choices": ["up", "down"], "accuracy": accuracy},
            }
            for name, price, accuracy in (("small", _SMALL, 0.7), ("large", _LARGE, 0.95))
        },
        "faults": [
            {"kind": "reset", "probability": 0.01},
            {"kind": "reset_after_headers", "probability": 0.005},
            {"kind": "hang", "probability": 0.002},
        ],
    }
    with provider(one, script) as server:
        write_tiers(
            one,
            [
                {
                    "name": name,
                    "model": name,
                    "base_url": server.url,
                    "price": price,
                    "max_output_tokens": 4,
                    "logprobs": True,
                    "timeout_s": 2,
                }
                for name, price in (("small", _SMALL), ("large", _LARGE))
            ],
        )
        estimate = json.loads(one.run("estimate", "data.jsonl", "--json"))
        least = int(estimate["minimum_budget_usd"] * 1e9)
        worst_large = int(estimate["tiers"]["large"]["worst_case_usd"] * 1e9)
        budget = least + worst_large // 10
        one.run(
            "submit", "data.jsonl", "--name", "race", "--budget", f"{budget / 1e9:.9f}",
            "--output", "{choices: [up, down]}", "--chunk-rows", "20",
        )  # fmt: skip
        status = one.status("race")
        bill = server.bill()
    tiers = status["tiers"]
    return RaceRun(
        rows=rows,
        answered=status["rows"]["answered"],
        budget_nanousd=status["budget_nanousd"],
        bill_nanousd=bill["total_nanousd"],
        spent_nanousd=status["spent_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        unspent_nanousd=status["budget_nanousd"] - status["spent_nanousd"],
        dearest_worst_case_nanousd=-(-worst_large // rows) + 1,
        escalations_wanted=rows,
        escalations_bought=tiers["large"]["answers"],
        lost_calls=sum(t["lost_calls"] for t in tiers.values()),
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
