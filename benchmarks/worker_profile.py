"""Where the microseconds of a row go in a worker.

    pip install py-spy
    python -m benchmarks.worker_profile [--rows 120000]

py-spy looks at a worker process some hundred times a second while it works on a job of one tier at 20 ms. The
CPU time of the process over that while, divided by the calls that it made, is shared out by what its event
loop was doing: the innermost of the parts below that is on the stack.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.rig import (
    BenchmarkError,
    Rig,
    provider,
    record,
    rig,
    wait_until,
    write_rows,
    write_tiers,
)

LATENCY_MS = 20
CALLS_AT_ONCE = 256
_WATCHED_S = 6
_PER_S = 500
_PRICE = {"input": 0.15, "output": 0.60}
_LOOP = "WorkerRuntime.drive"
# From the inside out: what is found first on the way up the stack counts.
PARTS = (
    ("HTTP: write, parse, pool", ("Connection.", "DirectConnections.")),
    ("reply: JSON, usage", ("_reply", "parse_json", "OpenAIWire.reply", "HttpProvider.")),
    ("judge the answer: value, check, signals", ("_Answers.bought",)),
    ("the request: template, body, bound", ("Calls._body",)),
    ("limits: gate, window, breaker", ("TierGate.", "Gates.", "Health.")),
    ("ledger: turns to and from Postgres", ("Driver._turn", "take_turn", "Driver._take")),
    ("claim chunks, load their rows", ("Driver._claim_if_hungry", "load_rows")),
    ("send and book calls", ("Calls.", "OpenChunk.")),
    ("driver", ("Driver.",)),
)
OTHER = "event loop: sockets, timers, tasks"


def measure(one: Rig, rows: int) -> dict[str, Any]:
    """Microseconds per row, by part."""
    script = {
        "models": {
            "small": {
                "price": _PRICE,
                "latency_ms": LATENCY_MS,
                "answers": [{"text": "up", "output_tokens": 1}],
            }
        }
    }
    write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(rows)])
    with provider(one, script) as server:
        tier = {
            "name": "small",
            "model": "small",
            "base_url": server.url,
            "price": _PRICE,
            "max_output_tokens": 4,
            "limits": {"concurrency": CALLS_AT_ONCE},
        }
        write_tiers(one, [tier])
        one.run("submit", "data.jsonl", "--budget", "1", "--limit", "1000", "--name", "warm-up")
        submit = one.start("submit", "data.jsonl", "--budget", "10", "--name", "job")
        try:
            return _watched(one)
        finally:
            submit.wait()


def _watched(one: Rig) -> dict[str, Any]:
    wait_until(lambda: _calls(one) > CALLS_AT_ONCE, "the job was at work")
    worker = _busiest(one.workers())
    out = one.folder / "stacks"
    calls, cpu_s = _calls(one), sum(worker.cpu_times()[:2])
    subprocess.run(
        ["py-spy", "record", "-p", str(worker.pid), "-d", str(_WATCHED_S), "-r", str(_PER_S), "-f",
         "raw", "-o", str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    calls, cpu_s = _calls(one) - calls, sum(worker.cpu_times()[:2]) - cpu_s
    if calls < _WATCHED_S * 1000:
        raise BenchmarkError(f"only {calls} calls were made while it was watched: more --rows")
    us_per_row = cpu_s / calls * 1e6
    seen = _by_part(out)
    total = sum(seen.values())
    return {
        "calls_watched": calls,
        "us_per_row": round(us_per_row, 1),
        "parts": {part: round(n / total * us_per_row, 1) for part, n in seen.most_common()},
    }


def _calls(one: Rig) -> int:
    jobs = {job["name"] for job in one.json("status")}
    return int(one.json("status", "job")["tiers"]["small"]["calls"]) if "job" in jobs else 0


def _busiest(workers: list[psutil.Process]) -> psutil.Process:
    before = {process: sum(process.cpu_times()[:2]) for process in workers}
    time.sleep(0.5)
    return max(workers, key=lambda process: sum(process.cpu_times()[:2]) - before[process])


def _by_part(stacks: Path) -> Counter[str]:
    seen: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        within = next((place for place, frame in enumerate(frames) if _LOOP in frame), None)
        if within is None:
            continue
        seen[_part_of(frames[within + 1 :])] += int(count)
    return seen


def _part_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, names in PARTS:
            if frame.startswith(names):
                return part
    return OTHER


def main() -> None:
    """Measure, record, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000)
    given = parser.parse_args()
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    with rig(CASCADE_LOCAL_WORKERS="1") as one:
        figures = measure(one, given.rows)
    record("worker-profile", figures, show=False)
    table = Table(box=None)
    table.add_column("a row in the worker")
    table.add_column("µs", justify="right")
    for part, us in figures["parts"].items():
        table.add_row(part, f"{us:.1f}")
    table.add_row("sum", f"{figures['us_per_row']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
