"""The throughput's figures in lines, ratios first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_PARTS = ("worker", "database", "broker", "planner", "submit", "supervisor")
"""Everything that a job takes CPU in, the provider apart."""


def own_cpu_s(figures: Mapping[str, Any]) -> float:
    """CPU seconds per 1,000 rows of everything that a job is run by."""
    return float(sum(figures["cpu_s_per_1000_rows"].get(part, 0.0) for part in _PARTS))


def scenarios_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line per scenario."""
    table = Table(box=None, title="CPU in seconds per 1,000 rows", title_justify="left")
    of_scenario = ("scenario", "calls/row", "ratio", "goal", "rows/s", "bare", "in flight")
    of_parts = (
        "worker",
        "database",
        "broker",
        "planner",
        "submit",
        "bare client",
        "provider",
        "worker MiB",
    )
    for column in (*of_scenario, *of_parts):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for name, one in found.items():
        cpu, bare = one["cpu_s_per_1000_rows"], one["bare_cpu_s_per_1000_rows"]
        table.add_row(
            name,
            f"{sum(one['calls'].values()) / one['rows']:.2f}",
            f"{one['ratio']:.2f}",
            "" if one["goal"] is None else f"{one['goal']:.1f}",
            f"{one['rows_per_s']:,.0f}",
            f"{one['bare_rows_per_s']:,.0f}",
            f"{one['max_in_flight']:,}",
            *(f"{cpu.get(part, 0.0):.3f}" for part in _PARTS[:5]),
            f"{bare['client']:.3f}",
            f"{cpu['provider']:.3f}",
            f"{one['peak_mib']['worker']:,}",
        )
    return table


def peers_table(base: Mapping[str, Any]) -> Table:
    """The peers beside the job and the bare client of the same rounds."""
    table = Table(box=None, title="beside other tools, one row one call", title_justify="left")
    table.add_column("tool")
    for column in (
        "rows per CPU second of ours",
        "of the worker alone",
        "CPU s per 1,000 rows",
        "rows/s",
        "in flight",
        "peak MiB",
    ):
        table.add_column(column, justify="right")
    ours, worker = own_cpu_s(base), base["cpu_s_per_1000_rows"]["worker"]
    table.add_row(
        "cascade-batch, all of it", "1.0 x", "", f"{ours:.3f}", f"{base['rows_per_s']:,.0f}",
        f"{base['max_in_flight']:,}", f"{base['peak_mib']['worker']:,}",
    )  # fmt: skip
    bare = base["bare_cpu_s_per_1000_rows"]["client"]
    table.add_row(
        "bare aiohttp", f"{bare / ours:.1f} x", f"{bare / worker:.1f} x", f"{bare:.3f}",
        f"{base['bare_rows_per_s']:,.0f}", f"{base['bare_max_in_flight']:,}", "",
    )  # fmt: skip
    for name, one in base["peers"].items():
        if "failed" in one:
            table.add_row(name, "failed")
            continue
        cpu = one["cpu_s_per_1000_rows"]
        versions = ", ".join(" ".join(pair) for pair in one["versions"].items())
        table.add_row(
            f"{name} ({versions})", f"{cpu / ours:.1f} x", f"{cpu / worker:.1f} x", f"{cpu:.3f}",
            f"{one['rows_per_s']:,.0f}", f"{one['max_in_flight']:,}", f"{one['peak_mib']:,}",
        )  # fmt: skip
    return table
