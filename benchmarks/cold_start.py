"""Seconds from `submit` of ten rows to their results: nothing there, stack stopped, stack running.

python -m benchmarks.cold_start
"""

from __future__ import annotations

import statistics
import time

from benchmarks.rig import Rig, provider, record, rig, write_rows, write_tiers

RUNS = 5
_PRICE = {"input": 1, "output": 2}


def _timed(one: Rig, name: str) -> float:
    begun = time.perf_counter()
    one.run("submit", "data.jsonl", "--budget", "1", "--name", name)
    if len(one.results(name)) != 10:
        raise ValueError("not every row has a result")
    return time.perf_counter() - begun


def main() -> None:
    """Measure and record."""
    seconds: dict[str, list[float]] = {"nothing there": [], "stopped": [], "running": []}
    for run in range(RUNS):
        with rig() as one:
            write_rows(one, [{"prompt": f"row {n}"} for n in range(10)])
            model = {"price": _PRICE, "latency_ms": 20, "echo": True}
            with provider(one, {"models": {"m": model}}) as server:
                tier = {"name": "tier", "model": "m", "base_url": server.url, "price": _PRICE}
                write_tiers(one, [{**tier, "max_output_tokens": 8}])
                for state, found in seconds.items():
                    found.append(_timed(one, f"{state} {run}"))
                    if state == "nothing there":
                        one.run("down")
    record(
        "cold-start",
        {
            f"seconds, {state} (median of {RUNS})": round(statistics.median(found), 2)
            for state, found in seconds.items()
        }
        | {"all": {state: [round(s, 2) for s in found] for state, found in seconds.items()}},
    )


if __name__ == "__main__":
    main()
