"""Sum up a report of runs: `python -m tests.chaos.summary REPORT [--record]`.

Every figure comes with the seed that gave its worst. `--record` keeps them in benchmarks/results/chaos.json,
with machine, versions and date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig import record

Run = Mapping[str, Any]


def sum_up(runs: Sequence[Run]) -> dict[str, Any]:
    """Totals over all runs, and figures by kind of blow. Shares are of a run's budget."""
    struck = [(run, blow) for run in runs for blow in run["blows"]]
    kills = [(run, blow) for run, blow in struck if _is_kill(blow)]
    faults: Counter[str] = Counter()
    for run in runs:
        faults.update(run["faults"])
    return {
        "runs": len(runs),
        "failed": [run["seed"] for run in runs if run["problems"]],
        "rows": sum(run["rows"] for run in runs),
        "calls": sum(run["calls"] for run in runs),
        "rows_unanswered": sum(run["unanswered"] for run in runs),
        "blows": len(struck),
        "kills": len(kills),
        "provider_faults": sum(faults.values()),
        "provider_faults_by_kind": dict(faults.most_common()),
        "paid_twice": sum(run["paid_twice"] for run in runs),
        "paid_twice_after_a_provider_fault": sum(run["paid_twice_after_fault"] for run in runs),
        "paid_twice_worst": _worst((run["seed"], run["paid_twice"]) for run in runs),
        "at_risk_share": _spread(
            (run["seed"], run["at_risk_nanousd"] / run["budget_nanousd"]) for run in runs
        ),
        "at_risk_share_per_kill": _spread(
            (run["seed"], blow["lost_nanousd"] / run["budget_nanousd"]) for run, blow in kills
        ),
        "lost_calls_per_kill": _spread((run["seed"], blow["lost_calls"]) for run, blow in kills),
        "reservations_resolved_s": _spread(
            (run["seed"], blow["resolved_s"]) for run, blow in struck if blow["resolved_s"]
        ),
        "recovered_s": _spread((run["seed"], blow["still_s"]) for run, blow in struck),
        "ended_s": _spread((run["seed"], run["ended_s"]) for run in runs if run["blows"]),
        "by_blow": {
            name: {
                "struck": len(of),
                "recovered_s": _spread((run["seed"], blow["still_s"]) for run, blow in of),
                "at_risk_share": _spread(
                    (run["seed"], blow["lost_nanousd"] / run["budget_nanousd"]) for run, blow in of
                ),
            }
            for name in sorted({blow["name"] for _, blow in struck})
            for of in [[(run, blow) for run, blow in struck if blow["name"] == name]]
        },
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures for people."""
    rows, calls, faults = figures["rows"], figures["calls"], figures["provider_faults"]
    after_fault = figures["paid_twice_after_a_provider_fault"]
    unanswered = figures["rows_unanswered"]
    lines = [
        f"runs {figures['runs']}, failed {len(figures['failed'])} {figures['failed'] or ''}",
        f"rows without an answer, as their calls were lost when all money was spent: {unanswered}",
        f"rows {rows:,}, calls {calls:,}, faults of the provider {faults:,}",
        f"blows {figures['blows']}, of these kills {figures['kills']}",
        f"paid twice {figures['paid_twice']}, worst {_said(figures['paid_twice_worst'])}",
        f"of these after a fault of the provider {after_fault}",
    ]
    for name, unit in (
        ("at_risk_share", "%"),
        ("at_risk_share_per_kill", "%"),
        ("lost_calls_per_kill", ""),
        ("reservations_resolved_s", "s"),
        ("recovered_s", "s"),
        ("ended_s", "s"),
    ):
        lines.append(f"{name:26} {_spread_said(figures[name], unit)}")
    lines += ["", f"{'blow':46} struck  longest without an answer   most at risk"]
    for name, blow in figures["by_blow"].items():
        still, risk = blow["recovered_s"], blow["at_risk_share"]
        lines.append(
            "{:46} {:6}  mean {:5.1f} s, worst {:5.1f} s   {:6.2%} (seed {})".format(
                name, blow["struck"], still["mean"], still["worst"], risk["worst"], risk["seed"]
            )
        )
    return "\n".join(lines)


def _is_kill(blow: Mapping[str, Any]) -> bool:
    return str(blow["name"]).startswith("kill")


def _worst(values: Iterable[tuple[int, float]]) -> dict[str, float] | None:
    seed, value = max(values, key=lambda pair: pair[1], default=(None, None))
    return None if seed is None or value is None else {"worst": value, "seed": seed}


def _spread(values: Iterable[tuple[int, float]]) -> dict[str, float] | None:
    pairs = list(values)
    worst = _worst(pairs)
    if worst is None:
        return None
    return {"mean": sum(value for _, value in pairs) / len(pairs), **worst}


def _said(worst: Mapping[str, float] | None) -> str:
    return "-" if worst is None else f"{worst['worst']} (seed {worst['seed']})"


def _spread_said(spread: Mapping[str, float] | None, unit: str) -> str:
    if spread is None:
        return "-"
    scale = 100.0 if unit == "%" else 1.0
    mean, worst = spread["mean"] * scale, spread["worst"] * scale
    return f"mean {mean:.2f} {unit}, worst {worst:.2f} {unit} (seed {spread['seed']})"


def main() -> None:
    """Read, sum up, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    figures = sum_up([json.loads(line) for line in given.report.read_text().splitlines()])
    if given.record:
        record("chaos", figures, show=False)
    sys.stdout.write(table(figures) + "\n")


if __name__ == "__main__":
    main()
