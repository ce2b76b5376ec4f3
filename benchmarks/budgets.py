"""Recorded answers of four real models, bought at three budgets: accuracy, bill and ledger.

python -m benchmarks.budgets
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.recordings import Recording, load
from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers
from cascade_batch.providers.scripted.serving import SpawnedProvider

SHARES = (0.15, 0.4, 0.8)
"""Where the budgets lie between the least that a job is accepted with and what all-dearest costs."""


@dataclass(frozen=True)
class BudgetRun:
    """One job at one budget, in nano-dollars where money is meant."""

    budget_nanousd: int
    spent_nanousd: int
    at_risk_nanousd: int
    bill_nanousd: int
    calls: int
    billed_calls: int
    rows: int
    answered: int
    accuracy: float
    audit: str
    escalated: dict[str, int]


def run_budgets(one: Rig, recording: Recording) -> list[BudgetRun]:
    """Run the recorded set as a job at each budget, through the command line."""
    write_rows(one, recording.rows())
    script = {"seed": 1, "models": recording.script_models(latency_ms=5)}
    runs = []
    with provider(one, script) as server:
        write_tiers(one, recording.job_tiers(server.url, max_output_tokens=16))
        for number, budget in enumerate(_budgets(one, recording)):
            server.reset()
            runs.append(_run(one, recording, f"budget-{number}", budget, server))
    return runs


def _budgets(one: Rig, recording: Recording) -> list[int]:
    estimate = _estimate(one)
    least = int(estimate["minimum_budget_usd"] * 1e9) + 1
    dearest = int(recording.tiers[-1]["usd_per_1000_rows"] * 1e6 * len(recording.questions))
    return [int(least + share * (dearest - least)) for share in SHARES]


def _estimate(one: Rig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.run("estimate", "data.jsonl", "--json"))
    return found


def _run(
    one: Rig, recording: Recording, name: str, budget: int, server: SpawnedProvider
) -> BudgetRun:
    one.run(
        "submit", "data.jsonl", "--budget", f"{budget / 1e9:.9f}", "--name", name,
        "--output", "{choices: [A, B, C, D]}",
    )  # fmt: skip
    status = one.status(name)
    results = one.results(name)
    bill = server.bill()
    return BudgetRun(
        budget_nanousd=status["budget_nanousd"],
        spent_nanousd=status["spent_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        bill_nanousd=bill["total_nanousd"],
        calls=sum(t["calls"] for t in status["tiers"].values()),
        billed_calls=bill["calls_billed"],
        rows=status["rows"]["total"],
        answered=sum(r["status"] == "answered" for r in results),
        accuracy=recording.accuracy(results),
        audit=one.run("audit", name).strip(),
        escalated={n: t["escalated"] for n, t in status["tiers"].items()},
    )


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="mmlu")
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    recording = load(given.set, limit=given.rows)
    with rig() as one:
        runs = run_budgets(one, recording)
    record(f"budgets-{given.set}", {"set": given.set, "runs": [asdict(r) for r in runs]})


if __name__ == "__main__":
    main()
