"""What the planner makes of a budget on recorded answers: beside the hull, a clairvoyant, and other methods.

    python -m benchmarks.quality [--only bar,hardship] [--seeds 20] [--budgets 20] [--fresh]

Cells (a set, its labels, its rows, what befalls it) are run one by one; each is kept as it is done, so that a
run that was stopped goes on where it was. A cell of another version of the policy is measured again. Figures
are means over the budgets from all rows on the first tier to all rows on the last; nAUC is 0 for the hull and
1 for clairvoyance, every call charged; in brackets its 95 % interval; the margin is the least over the
budgets of quality less the hull, in points.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import cascade_batch.policy
from benchmarks.baselines import BASELINES
from benchmarks.hardships import HARDSHIPS
from benchmarks.recordings import load
from benchmarks.rig import RESULTS, record
from cascade_batch.replay.labels import parse_regime
from cascade_batch.replay.planner import ProductPlanner
from cascade_batch.replay.recorded import RecordedSet, mix, read_set
from cascade_batch.replay.report import ReplayReport
from cascade_batch.replay.run import ReplayPlan, replay

SETS = ("triviaqa", "mmlu", "crux", "mmlu-pro")
LABELS = ("check", "check:0.9", "learn", "gold:10%", "agreement")
PROCESSES = 2
OURS = "cascade-batch"
BARS: dict[tuple[str, str], float] = {
    ("triviaqa", "check"): 0.90,
    ("mmlu", "check"): 0.75,
    ("crux", "check"): 0.65,
    ("mmlu-pro", "check"): 0.55,
    ("triviaqa", "learn"): 0.45,
    ("mmlu", "learn"): 0.12,
    ("crux", "learn"): -0.03,
    ("mmlu-pro", "learn"): -0.03,
    ("triviaqa", "gold:10%"): 0.35,
    ("mmlu", "gold:10%"): 0.05,
    ("triviaqa", "agreement"): 0.35,
}
"""What was asked of the planner before it was written."""
_MIXES = {
    "mmlu + triviaqa": (("mmlu", ("llama3.2-3b", "gpt-4o-mini", "gpt-4o")), ("triviaqa", None)),
    "crux + mmlu-pro": (("crux", None), ("mmlu-pro", None)),
}


_SEEDS_OF_LARGE = {"mmlu": 0.5, "mmlu-pro": 0.5}
"""Share of the seeds on sets of so many rows that chance evens out within each job."""
_SILENT = "no log-probabilities"


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    Attributes:
        part: The part of the benchmark that it belongs to.
        set_name: A recorded set, or a mix.
        labels: What is told about answers, as `replay --labels` names it.
        n_rows: Rows of each job; all, if None.
        hardship: What befalls the set; nothing, if empty.
        method: Who plans.
        n_seeds: Jobs per budget.
        n_budgets: Budgets.
    """

    part: str
    set_name: str
    labels: str
    n_seeds: int
    n_budgets: int
    n_rows: int | None = None
    hardship: str = ""
    method: str = OURS

    @property
    def key(self) -> str:
        """What the cell is, in words."""
        rows = f"{self.n_rows} rows" if self.n_rows else "all rows"
        words = [self.part, self.set_name, self.labels, rows, self.hardship, self.method]
        return ", ".join([w for w in words if w] + [f"{self.n_seeds} x {self.n_budgets}"])


def cells(n_seeds: int, n_budgets: int) -> Iterator[Cell]:
    """All cells: the bar in full, the others on fewer jobs."""
    fewer = max(n_seeds // 4, 2), max(n_budgets // 2, 4)
    main = ("learn", "check", "agreement")
    for labels, name in product(LABELS, SETS):
        seeds = max(int(n_seeds * _SEEDS_OF_LARGE.get(name, 1)), 2)
        yield Cell("bar", name, labels, seeds, n_budgets)
    for n_rows, labels, name in product((300, 1_000), main, SETS):
        yield Cell(
            "few rows", name, labels, n_seeds if labels == "learn" else fewer[0], fewer[1], n_rows
        )
    for labels, name in product(main, _MIXES):
        yield Cell("mixed", name, labels, *fewer, 3_000)
    for labels, name in product(main, ("triviaqa", "mmlu")):
        yield Cell("hardship", name, labels, *fewer, hardship=_SILENT)
    for labels, hardship, name in product(main, HARDSHIPS, SETS):
        yield Cell("hardship", name, labels, *fewer, 1_000, hardship)
    for labels, name, method in product(("learn", "check"), SETS, (OURS, *BASELINES)):
        yield Cell("methods", name, labels, *fewer, 1_000, method=method)


@cache
def recorded(name: str) -> RecordedSet:
    """A set or a mix, as it was recorded."""
    if name in _MIXES:
        return mix([read_set(load(part, limit=0).path, tiers) for part, tiers in _MIXES[name]])
    return read_set(load(name, limit=0).path)


def measure(cell: Cell) -> dict[str, Any]:
    """Run a cell's jobs."""
    set_ = recorded(cell.set_name)
    if cell.hardship in HARDSHIPS:
        set_ = HARDSHIPS[cell.hardship](set_)
    plan = ReplayPlan(
        parse_regime(cell.labels),
        n_budgets=cell.n_budgets,
        n_seeds=cell.n_seeds,
        n_rows=min(cell.n_rows, len(set_)) if cell.n_rows else None,
        with_logprobs=cell.hardship != _SILENT,
    )
    maker = ProductPlanner if cell.method == OURS else BASELINES[cell.method]
    report = replay(set_, plan, make_planner=maker, processes=PROCESSES)
    return {
        "part": cell.part,
        "set": cell.set_name,
        "labels": cell.labels,
        "rows": report.n_rows,
        "hardship": cell.hardship,
        "method": cell.method,
        "seeds": cell.n_seeds,
        "budgets": cell.n_budgets,
        "nauc": round(report.nauc, 3),
        "nauc_low": round(report.nauc_low, 3),
        "nauc_high": round(report.nauc_high, 3),
        "margin_points": round(100 * report.min_margin_over_hull, 2),
        "margins_points": [round(100 * (p.quality - p.hull), 2) for p in report.points],
        "unspent": round(report.unspent_share, 4),
        "violations": report.violations,
        "unanswered": report.unanswered,
        "best_cascade_nauc": round(_best_cascade(report), 3),
    }


def _best_cascade(report: ReplayReport) -> float:
    """The best of the cascades by confidence, chosen in hindsight."""
    return max(v for name, v in report.rival_naucs.items() if name.startswith("confidence"))


def policy_version() -> str:
    """What the policy's code comes to, comments and docstrings apart."""
    digest = hashlib.sha256()
    for path in sorted(Path(cascade_batch.policy.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                kept = [part for part in body if not _is_text(part)]
                node.body = kept  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)


def table_of(figures: dict[str, dict[str, Any]]) -> Table:
    """The cells in lines."""
    table = Table(box=None)
    for column in ("part", "set", "labels", "rows", "what", "nAUC", "asked", "margin", "unspent"):
        table.add_column(column)
    for one in figures.values():
        bar = BARS.get((one["set"], one["labels"])) if one["part"] == "bar" else None
        faults = one["violations"] + one["unanswered"]
        what = one["hardship"] or (one["method"] if one["part"] == "methods" else "")
        table.add_row(
            one["part"],
            one["set"],
            one["labels"],
            f"{one['rows']:,}",
            what,
            f"{one['nauc']:+.2f} [{one['nauc_low']:+.2f}, {one['nauc_high']:+.2f}]",
            "" if bar is None else f"{bar:.2f}",
            f"{one['margin_points']:+.1f}",
            f"{one['unspent']:.1%}" + (f"  {faults} FAULTS" if faults else ""),
        )
    return table


def main() -> None:
    """Measure what is missing, record, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    given = parser.parse_args()
    parts = set(given.only.split(",")) - {""}
    version = policy_version()
    kept: dict[str, dict[str, Any]] = {}
    path = RESULTS / "quality.json"
    if path.exists() and not given.fresh:
        kept = json.loads(path.read_text())["figures"]
    found = {}
    for cell in cells(given.seeds, given.budgets):
        old = kept.get(cell.key)
        if old and (old["policy"] == version or (parts and cell.part not in parts)):
            found[cell.key] = old
            continue
        if parts and cell.part not in parts:
            continue
        found[cell.key] = measure(cell) | {"policy": version}
        record("quality", kept | found, show=False)
        print(cell.key, found[cell.key]["nauc"], flush=True)
    record("quality", found, show=False)
    Console(width=140).print(table_of(found))


if __name__ == "__main__":
    main()
