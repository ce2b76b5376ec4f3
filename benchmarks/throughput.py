"""Rows per second of a whole job, from `submit` to its end, beside a bare HTTP client.

    python -m benchmarks.throughput [--rows 50000] [--rounds 3] [--concurrency 128]

Both make the same calls to the same scripted provider, in turn, so that what else the machine does
meets both. The stack and its workers run before the first round. CPU seconds are those of all of a part's
processes, ended ones too; memory is each process's own peak, as the kernel knows it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import psutil

from benchmarks.bare_client import prompt
from benchmarks.rig import (
    ROOT,
    BenchmarkError,
    Rig,
    command,
    provider,
    record,
    rig,
    write_rows,
    write_tiers,
)  # fmt: skip
from cascade_batch.providers.scripted import SpawnedProvider

LATENCY_MS = 20
_PRICE = {"input": 0.15, "output": 0.60}
_SCRIPT = {
    "models": {
        "small": {
            "price": _PRICE,
            "latency_ms": LATENCY_MS,
            "answers": [{"text": "up", "output_tokens": 1}],
        }
    }
}
_MIB = 2**20


def measure(one: Rig, rows: int, rounds: int, concurrency: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    write_rows(one, [{"prompt": prompt(n)} for n in range(rows)])
    with provider(one, _SCRIPT) as server:
        tier = {
            "name": "small",
            "model": "small",
            "base_url": server.url,
            "price": _PRICE,
            "max_output_tokens": 4,
            "limits": {"concurrency": concurrency},
        }
        write_tiers(one, [tier])
        one.run("submit", "data.jsonl", "--budget", "1", "--limit", "1000", "--name", "warm-up")
        pairs = []
        for number in range(rounds):
            bare = _bare(server, rows, concurrency)
            pairs.append((bare, _job(one, server, f"job-{number}", rows)))
    return _figures(pairs, rows, concurrency)


def _bare(server: SpawnedProvider, rows: int, concurrency: int) -> dict[str, Any]:
    server.reset()
    before = _cpu_s(psutil.Process(server.pid))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_client", server.url, str(rows), str(concurrency)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    bill = server.bill()
    if bill["calls_billed"] != rows:
        raise BenchmarkError(f"the bare client made {bill['calls_billed']} calls, not {rows}")
    return {
        "rows_per_s": rows / found["seconds"],
        "max_in_flight": bill["models"]["small"]["max_in_flight"],
        "cpu_s": {
            "client": found["cpu_s"],
            "provider": _cpu_s(psutil.Process(server.pid)) - before,
        },
    }


def _job(one: Rig, server: SpawnedProvider, name: str, rows: int) -> dict[str, Any]:
    server.reset()
    before = {part: _cpu_s(process) for part, process in _parts(one, server).items()}
    began = time.monotonic()
    submit = subprocess.Popen(
        command("submit", "data.jsonl", "--budget", "10", "--name", name),
        cwd=one.folder, env=dict(one.environment), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, code, usage = os.wait4(submit.pid, 0)
    seconds = time.monotonic() - began
    if code:
        raise BenchmarkError(f"submit ended with {code}")
    parts = _parts(one, server)
    after = {part: _cpu_s(process) for part, process in parts.items()}
    bill = server.bill()
    if (bill["calls_billed"], bill["duplicates"]) != (rows, 0):
        raise BenchmarkError(f"the job made {bill['calls_billed']} calls, not {rows}")
    if not one.run("audit", name).startswith("OK"):
        raise BenchmarkError("the audit differs")
    workers = [q for part, p in parts.items() if "worker" in part for q in _family(p)]
    return {
        "rows_per_s": rows / seconds,
        "max_in_flight": bill["models"]["small"]["max_in_flight"],
        "cpu_s": {
            "submit": usage.ru_utime + usage.ru_stime,
            **{part: after[part] - before.get(part, 0.0) for part in after},
        },
        # Of the command alone: what it forked has an end of its own.
        "submit_peak_mib": usage.ru_maxrss * 1024 / _MIB,
        "worker_peak_mib": max(_peak_mib(process) for process in workers),
    }


def _parts(one: Rig, server: SpawnedProvider) -> dict[str, psutil.Process]:
    return {**one.parts(), "provider": psutil.Process(server.pid)}


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    """CPU of a process and all that it started; the supervisor's children are parts of their own."""
    own = process.cpu_times()
    if "supervisor" in " ".join(process.cmdline()):
        return float(own.user + own.system)
    ended = float(own.children_user + own.children_system)
    return ended + sum(sum(p.cpu_times()[:2]) for p in _family(process))


def _peak_mib(process: psutil.Process) -> float:
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024 / _MIB


def _figures(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]], rows: int, concurrency: int
) -> dict[str, Any]:
    def median(side: int, key: str) -> float:
        return round(statistics.median(pair[side][key] for pair in pairs), 1)

    def cpu_s_per_1000_rows(side: int) -> dict[str, float]:
        return {
            part: round(statistics.median(p[side]["cpu_s"][part] for p in pairs) / rows * 1000, 4)
            for part in pairs[0][side]["cpu_s"]
        }

    return {
        "rows": rows,
        "rounds": len(pairs),
        "latency_ms": LATENCY_MS,
        "concurrency": concurrency,
        "bare_rows_per_s": median(0, "rows_per_s"),
        "job_rows_per_s": median(1, "rows_per_s"),
        "ratio": round(statistics.median(j["rows_per_s"] / b["rows_per_s"] for b, j in pairs), 3),
        "bare_max_in_flight": median(0, "max_in_flight"),
        "job_max_in_flight": median(1, "max_in_flight"),
        "bare_cpu_s_per_1000_rows": cpu_s_per_1000_rows(0),
        "job_cpu_s_per_1000_rows": cpu_s_per_1000_rows(1),
        "submit_peak_mib": median(1, "submit_peak_mib"),
        "worker_peak_mib": median(1, "worker_peak_mib"),
        "each_round": [
            {"bare_rows_per_s": round(b["rows_per_s"]), "job_rows_per_s": round(j["rows_per_s"])}
            for b, j in pairs
        ],
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    given = parser.parse_args()
    with rig(CASCADE_LOCAL_WORKERS=str(given.workers)) as one:
        figures = measure(one, given.rows, given.rounds, given.concurrency)
    record("throughput", {"worker_processes": given.workers, **figures})


if __name__ == "__main__":
    main()
