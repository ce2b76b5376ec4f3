"""SIGKILL of all workers when half of the rows have been asked; then the job goes on.

    python -m benchmarks.kill [--rows 8000]

The workers are halted first (SIGSTOP), so that what was paid for and not yet stored can be counted at
the moment of their death: the calls that the provider has billed, less the answers in the database.
"""

from __future__ import annotations

import argparse
import signal
from dataclasses import asdict, dataclass

import psutil

from benchmarks.rig import Rig, provider, record, rig, wait_until, write_rows, write_tiers
from cascade_batch.providers.scripted import SpawnedProvider

_PRICE = {"input": 0.15, "output": 0.60}


@dataclass(frozen=True)
class KillRun:
    """What came of it; money in nano-dollars.

    Attributes:
        answered_at_kill: Answers in the database when the workers died.
        in_flight_at_kill: Calls that were billed by then and whose answers were not stored.
        paid_twice: Calls beyond the first that the provider billed for the same row.
        lost_calls: Calls written off, those that were reserved but not sent among them.
    """

    rows: int
    answered: int
    concurrency: int
    killed_processes: int
    answered_at_kill: int
    in_flight_at_kill: int
    paid_twice: int
    lost_calls: int
    budget_nanousd: int
    bill_nanousd: int
    spent_nanousd: int
    at_risk_nanousd: int
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
        tier = {
            "name": "small",
            "model": "small",
            "base_url": server.url,
            "price": _PRICE,
            "max_output_tokens": 4,
            "limits": {"concurrency": concurrency},
        }
        write_tiers(one, [tier])
        one.run("submit", "data.jsonl", "--name", "kill", "--budget", "10", "--detach")
        wait_until(lambda: server.bill()["calls_billed"] >= rows // 2, "half of the rows are asked")
        victims = _halt(one)
        wait_until(lambda: not _in_flight(server), "the provider has answered what it was sent")
        billed, stored = server.bill()["calls_billed"], one.status("kill")["rows"]["answered"]
        for process in victims:
            process.kill()
        one.run("resume", "kill")
        one.run("watch", "kill")
        status = one.status("kill")
        bill = server.bill()
    return KillRun(
        rows=rows,
        answered=sum(r["status"] == "answered" for r in one.results("kill")),
        concurrency=concurrency,
        killed_processes=len(victims),
        answered_at_kill=stored,
        in_flight_at_kill=billed - stored,
        paid_twice=bill["duplicates"],
        lost_calls=status["tiers"]["small"]["lost_calls"],
        budget_nanousd=status["budget_nanousd"],
        bill_nanousd=bill["total_nanousd"],
        spent_nanousd=status["spent_nanousd"],
        at_risk_nanousd=status["at_risk_nanousd"],
        audit=one.run("audit", "kill").strip(),
    )


def _halt(one: Rig) -> list[psutil.Process]:
    victims = one.workers()
    for process in victims:
        process.send_signal(signal.SIGSTOP)
    return victims


def _in_flight(server: SpawnedProvider) -> int:
    return sum(model["in_flight"] for model in server.bill()["models"].values())


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
