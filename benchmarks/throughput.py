"""Rows per second of a whole job, from `submit` to its end, beside a bare HTTP client and other tools.

    python -m benchmarks.throughput [--all] [--only "500 ms, 3 tiers"]… [--rows 50000] [--rounds 3]
                                    [--peer-rows 2000] [--no-peers] [--fresh]

Job and bare client make the same calls to the same scripted provider, in turn, so that what else the
machine does meets both; peers make fewer, since what tells is their CPU per row. Stack, workers and peers
are warm before the first round. Figures are medians over the rounds, the ratio that of the rounds' own
ratios. CPU seconds are those of all of a part's processes, ended ones too; memory is the most that one
process held.

Scenarios are run one by one; each is kept as it is done, so that a run that was stopped goes on where it
was. One that was measured with other code, or on another number of rows or rounds, is measured again, where
`--only` names it: by words of its name, such as "500 ms, 3 tiers".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from rich.console import Console

from benchmarks.costs import cpu_s, cpu_s_by_part, peak_mib_by_part
from benchmarks.peers.running import PEERS, Given, NotInstalledError, Peer, environment, run_peer
from benchmarks.questions import MODELS, calls_needed, prompt
from benchmarks.rig import (
    RESULTS,
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
from benchmarks.scenarios import BASE, Scenario, scenarios, script, submit_options, tiers
from benchmarks.throughput_tables import peers_table, scenarios_table
from cascade_batch.providers.scripted import SpawnedProvider

Figures = dict[str, Any]
_NAME = "throughput"
_WARM_UP_ROWS = 1000
_SPARE_FILES = 500
"""Open files of a process beyond its calls in flight."""


def measure(
    scenario: Scenario, rows: int, rounds: int, peers: Sequence[Peer], peer_rows: int
) -> Figures:
    """All figures of a scenario, those of the peers under `peers`."""
    with rig(CASCADE_LOCAL_WORKERS=str(scenario.workers)) as one:
        write_rows(one, ({"prompt": prompt(row, scenario.size_bytes)} for row in range(rows)))
        with provider(one, script(scenario)) as server:
            write_tiers(one, tiers(scenario, server.url))
            one.run(
                "submit", "data.jsonl", "--name", "warm-up", "--limit", str(min(rows, _WARM_UP_ROWS)),
                *submit_options(scenario),
            )  # fmt: skip
            bare, jobs, others = [], [], []
            for number in range(rounds):
                jobs.append(_job(one, server, scenario, f"job-{number}", rows))
                bare.append(_bare(server, scenario, rows, jobs[-1]["calls"]))
                others.append([_peer(server, peer, peer_rows, scenario) for peer in peers])
    figures = _figures(scenario, rows, bare, jobs)
    if peers:
        figures["peers"] = {
            peer.name: _median_peer([found[place] for found in others])
            for place, peer in enumerate(peers)
        }
    return figures


def _bare(
    server: SpawnedProvider, scenario: Scenario, rows: int, calls: Mapping[str, int]
) -> Figures:
    """One run of the bare client, in as many processes as the job's tiers have; as many calls as it made."""
    server.reset()
    before = cpu_s(psutil.Process(server.pid))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_client", server.url, json.dumps({
                "calls": [calls[model] for model in MODELS[: scenario.tiers]],
                "first": first,
                "step": scenario.workers,
                "size_bytes": scenario.size_bytes,
                "concurrency": scenario.concurrency // scenario.workers,
            })],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for first in range(scenario.workers)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise BenchmarkError("the bare client failed; what it said is above")
    found = [json.loads(one) for one in said]
    _look_at_bill(server, calls, "the bare client")
    seconds = max(one["ended"] for one in found) - min(one["began"] for one in found)
    return {
        "rows_per_s": rows / seconds,
        "max_in_flight": _in_flight(server),
        "cpu_s": {
            "client": sum(one["cpu_s"] for one in found),
            "provider": cpu_s(psutil.Process(server.pid)) - before,
        },
    }


def _job(one: Rig, server: SpawnedProvider, scenario: Scenario, name: str, rows: int) -> Figures:
    """One job, from the start of `submit` until it has seen the end."""
    server.reset()
    before = cpu_s_by_part(_processes(one, server))
    began = time.monotonic()
    submit = subprocess.Popen(
        command("submit", "data.jsonl", "--name", name, *submit_options(scenario)),
        cwd=one.folder, env=dict(one.environment), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, code, usage = os.wait4(submit.pid, 0)
    seconds = time.monotonic() - began
    if code:
        raise BenchmarkError(f"submit ended with {os.waitstatus_to_exitcode(code)}")
    processes = _processes(one, server)
    after = cpu_s_by_part(processes)
    needed = dict(zip(MODELS, calls_needed(rows, scenario.tiers), strict=False))
    calls = _look_at_bill(server, needed if scenario.policy == "confidence" else None, "the job")
    if not one.run("audit", name).startswith("OK"):
        raise BenchmarkError("the audit differs")
    return {
        "rows_per_s": rows / seconds,
        "max_in_flight": _in_flight(server),
        "calls": calls,
        "cpu_s": {
            "submit": usage.ru_utime + usage.ru_stime,
            **{part: after[part] - before.get(part, 0.0) for part in after},
        },
        # Of the command alone: what it forked has an end of its own.
        "peak_mib": {"submit": usage.ru_maxrss / 1024, **peak_mib_by_part(processes)},
    }


def _peer(server: SpawnedProvider, peer: Peer, rows: int, scenario: Scenario) -> Figures:
    """One run of a peer; its failure is part of the result."""
    server.reset()
    given = Given(server.url, rows, scenario.concurrency, scenario.size_bytes)
    found = run_peer(peer, given)
    bill = server.bill()
    if "failed" not in found and bill["calls_billed"] != rows + found["warm_up"]:
        found["failed"] = (
            f"it made {bill['calls_billed']} calls for {rows} + {found['warm_up']} rows"
        )
    return {**found, "max_in_flight": _in_flight(server)}


def _look_at_bill(
    server: SpawnedProvider, needed: Mapping[str, int] | None, who: str
) -> dict[str, int]:
    """The calls of each model on the bill.

    Args:
        needed: How many there are to be; None: that can't be told beforehand.

    Raises:
        BenchmarkError: Others were made, or some twice.
    """
    bill = server.bill()
    made = {model: part["billed"] for model, part in bill["models"].items()}
    if bill["duplicates"] or (needed is not None and made != needed):
        raise BenchmarkError(f"{who}: {made}, {bill['duplicates']} of them twice, and not {needed}")
    return made


def _in_flight(server: SpawnedProvider) -> int:
    return max(part["max_in_flight"] for part in server.bill()["models"].values())


def _processes(one: Rig, server: SpawnedProvider) -> dict[str, psutil.Process]:
    return {**one.parts(), "provider": psutil.Process(server.pid)}


def _figures(
    scenario: Scenario, rows: int, bare: Sequence[Figures], jobs: Sequence[Figures]
) -> Figures:
    def per_1000_rows(runs: Sequence[Figures]) -> dict[str, float]:
        return {
            part: round(value / rows * 1000, 4) for part, value in _median(runs, "cpu_s").items()
        }

    ratios = [j["rows_per_s"] / b["rows_per_s"] for b, j in zip(bare, jobs, strict=True)]
    return {
        **scenario.fields(),
        "rows": rows,
        "rounds": len(jobs),
        "ratio": round(statistics.median(ratios), 3),
        "goal": scenario.goal,
        "rows_per_s": round(statistics.median(j["rows_per_s"] for j in jobs), 1),
        "bare_rows_per_s": round(statistics.median(b["rows_per_s"] for b in bare), 1),
        "max_in_flight": round(statistics.median(j["max_in_flight"] for j in jobs)),
        "bare_max_in_flight": round(statistics.median(b["max_in_flight"] for b in bare)),
        "calls": {model: jobs[-1]["calls"][model] for model in MODELS[: scenario.tiers]},
        "cpu_s_per_1000_rows": per_1000_rows(jobs),
        "bare_cpu_s_per_1000_rows": per_1000_rows(bare),
        "peak_mib": {part: round(value) for part, value in _median(jobs, "peak_mib").items()},
        "each_round": [
            {"bare_rows_per_s": round(b["rows_per_s"]), "rows_per_s": round(j["rows_per_s"])}
            for b, j in zip(bare, jobs, strict=True)
        ],
    }


def _median(runs: Sequence[Figures], key: str) -> dict[str, float]:
    return {
        part: statistics.median(run[key].get(part, 0.0) for run in runs) for part in runs[0][key]
    }


def _median_peer(runs: Sequence[Figures]) -> Figures:
    failed = [run["failed"] for run in runs if "failed" in run]
    if failed:
        return {"failed": failed[0]}
    rows = runs[0]["rows"]
    return {
        "versions": runs[0]["versions"],
        "rows": rows,
        "rows_per_s": round(statistics.median(rows / run["seconds"] for run in runs), 1),
        "max_in_flight": round(statistics.median(run["max_in_flight"] for run in runs)),
        "cpu_s_per_1000_rows": round(
            statistics.median(run["cpu_s"] for run in runs) / rows * 1000, 4
        ),
        "peak_mib": round(statistics.median(run["peak_mib"] for run in runs)),
    }


def _installed(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, Figures]]:
    """The peers that can be run, and why the others can't."""
    able, unable = [], {}
    for peer in peers:
        try:
            environment(peer)
            able.append(peer)
        except NotInstalledError as error:
            unable[peer.name] = {"failed": f"not installable: {error}"}
    return able, unable


def code_version() -> str:
    """What the measured code comes to."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "cascade_batch").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _is_wanted(scenario: Scenario, only: Sequence[str]) -> bool:
    words = set(scenario.key.split(", "))
    return not only or any({word.strip() for word in one.split(",")} <= words for one in only)


def _kept(*, fresh: bool) -> dict[str, Figures]:
    """Scenarios measured before, and why peers are not to be had."""
    path = RESULTS / f"{_NAME}.json"
    if fresh or not path.exists():
        return {}
    found: dict[str, Figures] = json.loads(path.read_text())["figures"].get("scenarios", {})
    return found


def _require_files(scenario: Scenario) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = scenario.concurrency * scenario.tiers + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchmarkError(
            f"{scenario.key}: every call in flight is an open file, and a process may have {hard} of the"
            f" {needed} needed (ulimit -Hn)"
        )


def main() -> None:
    """Measure what is missing, record, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every combination")
    parser.add_argument(
        "--only", action="append", default=[], help="words of a scenario, with commas"
    )
    parser.add_argument("--rows", type=int, default=50_000, help="of each job; a multiple of ten")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rows", type=int, default=2_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    given = parser.parse_args()
    code = code_version()
    kept = _kept(fresh=given.fresh)
    peers, missing = ([], {}) if given.no_peers else _installed(PEERS)
    for scenario in scenarios(every=given.all):
        like = {"code": code, "rows": given.rows, "rounds": given.rounds}
        beside = peers if scenario == BASE else []
        old = kept.get(scenario.key, {})
        is_known = like.items() <= old.items() and (not beside or "peers" in old)
        if is_known or not _is_wanted(scenario, given.only):
            continue
        _require_files(scenario)
        found = measure(scenario, given.rows, given.rounds, beside, given.peer_rows) | like
        if scenario == BASE and not given.no_peers:
            found["peers"] = found.get("peers", {}) | missing
        kept[scenario.key] = found
        record(_NAME, {"scenarios": kept}, show=False)
        print(f"{scenario.key}: {found['ratio']}", flush=True)
    lines = {one.key: kept[one.key] for one in scenarios(every=True) if one.key in kept}
    console = Console(width=200)
    console.print(scenarios_table(lines))
    if "peers" in kept.get(BASE.key, {}):
        console.print(peers_table(kept[BASE.key]))
        for name, one in kept[BASE.key]["peers"].items():
            if "failed" in one:
                console.print(f"{name}: {one['failed']}", markup=False)


if __name__ == "__main__":
    main()
