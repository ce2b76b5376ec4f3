"""SIGKILL of all workers when half of the rows are answered; then the job goes on.

python -m benchmarks.kill
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass

from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers

_PRICE = {"input": 0.15, "output": 0.60}


@dataclass(frozen=True)
class KillRun:
    """What came of it; money in nano-dollars."""

    rows: int
    answered: int
    killed_processes: int
    answered_at_kill: int
    in_flight_at_most: int
    paid_twice: int
    budget_nanousd: int
    bill_nanousd: int
    spent_nanousd: int
    at_risk_nanousd: int
    at_risk_share: float
    audit: str


def run_kill(one: Rig, rows: int, *, concurrency: int = 50) -> KillRun:
    """Kill every worker process at half-way; the stack starts new ones, leases run out, work goes on."""
    write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(rows)])
    script = {
        "seed": 5,
        "models": {
            "small": {
                "price": _PRICE,
                "latency_ms": 50,
                "simulate": {"choices": ["up", "down"], "accuracy": 0.8},
            }
        },
    }
    with provider(one, script) as server:
        write_tiers(
            one,
            [
                {
                    "name": "small",
                    "model": "small",
                    "base_url": server.url,
                    "price": _PRICE,
                    "max_output_tokens": 4,
                    "limits": {"concurrency": concurrency},
                }
            ],
        )
        one.run("submit", "data.jsonl", "--name", "kill", "--budget", "10", "--detach")
        status = one.wait("kill", lambda s: s["rows"]["answered"] >= rows // 2)
        victims = one.workers()
        for process in victims:
            process.kill()
        status_after = one.status("kill")
        one.run("resume", "kill")
        status = one.wait_until_over("kill")
        bill = server.bill()
        answered = sum(r["status"] == "answered" for r in one.results("kill"))
    return KillRun(
        rows=rows,
        answered=answered,
        killed_processes=len(victims),
        answered_at_kill=status_after["rows"]["answered"],
        in_flight_at_most=bill["models"]["small"]["max_in_flight"],
        paid_twice=bill["duplicates"],
        budget_nanousd=status["budget_nanousd"],
        bill_nanousd=bill["total_nanousd"],
        spent_nanousd=status["spent_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        at_risk_share=status["at_risk_nanousd"]
        / (status["at_risk_nanousd"] + status["spent_nanousd"]),
        audit=one.run("audit", "kill").strip(),
    )


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8000)
    given = parser.parse_args()
    with rig(CASCADE_LEASE_S="3") as one:
        run = run_kill(one, given.rows)
    record("kill", asdict(run))


if __name__ == "__main__":
    main()
