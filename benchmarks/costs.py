"""What a stack's parts cost: CPU seconds and memory, by what a part is for."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

PARTS = {"postgres": "database", "valkey": "broker", "worker control": "planner"}
"""Names of a stack's processes -> what they are for. A tier's worker is `worker`; others keep their names."""
_MIB = 2**20


def part_of(process_name: str) -> str:
    """What a process of a stack is for."""
    is_worker = process_name.startswith("worker tier.")
    return "worker" if is_worker else PARTS.get(process_name, process_name)


def cpu_s(process: psutil.Process) -> float:
    """CPU of a process and all that it started; the supervisor's children are parts of their own."""
    own = process.cpu_times()
    if "supervisor" in " ".join(process.cmdline()):
        return float(own.user + own.system)
    ended = float(own.children_user + own.children_system)
    return ended + sum(sum(p.cpu_times()[:2]) for p in _family(process))


def cpu_s_by_part(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """CPU seconds so far."""
    found: dict[str, float] = {}
    for name, process in processes.items():
        found[part_of(name)] = found.get(part_of(name), 0.0) + cpu_s(process)
    return found


def peak_mib_by_part(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """The most that any one process of a part ever held, as the kernel knows it; what processes share counts
    for each."""
    found: dict[str, float] = {}
    for name, process in processes.items():
        family = [process] if name == "supervisor" else _family(process)
        peak = max(_peak_mib(one) for one in family)
        found[part_of(name)] = max(found.get(part_of(name), 0.0), peak)
    return found


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _peak_mib(process: psutil.Process) -> float:
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        peak = next((line for line in status if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(peak.split()[1]) * 1024 / _MIB
