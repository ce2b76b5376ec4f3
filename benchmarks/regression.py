"""Whether a ratio fell: the results that lie here against those of a commit.

    python -m benchmarks.regression [--against HEAD] [--tolerance 0.15]

Ratios are compared and no times: both sides of a ratio were measured on the same machine in the same minutes,
so that they can be held against those of another machine, roughly. A ratio that fell by more than the
tolerance is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.rig import RESULTS, ROOT

HIGHER_IS_BETTER = frozenset({"ratio", "submit_to_bare_copy", "last_tenth_to_first"})
"""Names of figures that are ratios."""


def ratios(document: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every ratio of a results file, by where it stands."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in HIGHER_IS_BETTER and isinstance(value, int | float):
                yield f"{path}/{key}", float(value)
            else:
                yield from ratios(value, f"{path}/{key}")
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from ratios(value, f"{path}/{place}")


def before(name: str, commit: str) -> Any:
    """A results file as it was in a commit; None if there was none."""
    where = (RESULTS / name).relative_to(ROOT).as_posix()
    shown = subprocess.run(
        ["git", "show", f"{commit}:{where}"], cwd=ROOT, capture_output=True, check=False
    )
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def fallen(commit: str, tolerance: float) -> Iterator[str]:
    """What to say of each ratio that fell too far."""
    for file in sorted(RESULTS.glob("*.json")):
        old = dict(ratios(before(file.name, commit)))
        for where, now in ratios(json.loads(file.read_text())):
            then = old.get(where)
            if then is not None and now < then * (1 - tolerance):
                yield f"{file.stem}{where}: {then:g} in {commit}, {now:g} now"


def main() -> None:
    """Compare, say what fell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="HEAD", metavar="COMMIT")
    parser.add_argument("--tolerance", type=float, default=0.15)
    given = parser.parse_args()
    found = list(fallen(given.against, given.tolerance))
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
