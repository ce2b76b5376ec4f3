"""Seconds from `submit` of ten rows to their results: nothing there, stack stopped, stack running.

    python -m benchmarks.cold_start [--runs 5]

Each run also notes what happened when: the processes' starts, the job's own times, the provider's log.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers
from cascade_batch.providers.scripted import SpawnedProvider

STATES = ("nothing there", "stopped", "running")
ROWS = 10
_PRICE = {"input": 1, "output": 2}


def measure(one: Rig) -> dict[str, dict[str, float]]:
    """For each state of a stack that is new here, the seconds after the launch at which things happened."""
    write_rows(one, [{"prompt": f"row {n}"} for n in range(ROWS)])
    model = {"price": _PRICE, "latency_ms": 20, "echo": True}
    found = {}
    with provider(one, {"models": {"m": model}}) as server:
        tier = {"name": "tier", "model": "m", "base_url": server.url, "price": _PRICE}
        write_tiers(one, [{**tier, "max_output_tokens": 8}])
        for state in STATES:
            server.reset()
            found[state] = _times(one, server, state)
            if state == "nothing there":
                one.run("down")
    return found


def _times(one: Rig, server: SpawnedProvider, name: str) -> dict[str, float]:
    began = time.time()
    one.run("submit", "data.jsonl", "--budget", "1", "--name", name)
    submitted = time.time()
    if len(one.results(name)) != ROWS:
        raise ValueError("not every row has a result")
    ended = time.time()
    status, parts = one.status(name), one.parts()
    at = {
        "supervisor started": parts["supervisor"].create_time(),
        "postgres started": parts["postgres"].create_time(),
        "workers started": parts["worker tier.tier"].create_time(),
        "rows are being stored": _epoch_s(status["created_at"]),
        "a worker took the job": _epoch_s(status["started_at"]),
        "first call": server.log()[0]["time"],
        "job finished": _epoch_s(status["finished_at"]),
        "submit returned": submitted,
        "results printed": ended,
    }
    return {what: when - began for what, when in at.items() if when >= began}


def _epoch_s(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _median(runs: list[Mapping[str, float]]) -> dict[str, float]:
    return {what: round(statistics.median(run[what] for run in runs), 2) for what in runs[0]}


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    runs = []
    for _ in range(given.runs):
        with rig() as one:
            runs.append(measure(one))
    figures: dict[str, Any] = {"runs": given.runs}
    for state in STATES:
        figures[state] = {
            "median seconds after the launch": _median([run[state] for run in runs]),
            "results printed, each run": [round(r[state]["results printed"], 2) for r in runs],
        }
    record("cold-start", figures)


if __name__ == "__main__":
    main()
