"""A peer's run, as its script prints it. Runs in the peer's environment: standard library only.

One line of JSON: `rows`, `seconds` and `cpu_s` (of the process and what it started, imports apart),
`peak_mib`, `versions`, and `warm_up`: rows that were asked before the clock was started.
"""

from __future__ import annotations

import importlib.metadata
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from benchmarks.questions import prompt

WARM_UP_ROWS = 50
Ask = Callable[[SimpleNamespace], int]
"""Asks what is given (see `running.Given`) and says how many answers came."""


def prompts(given: SimpleNamespace) -> list[str]:
    """The questions."""
    return [prompt(row, given.size_bytes) for row in range(given.first, given.first + given.rows)]


def measured(ask: Ask, packages: Sequence[str]) -> None:
    """Ask once for the warmth and once for the clock, and print what came of it.

    Args:
        packages: Whose versions are told.
    """
    given = json.loads(sys.argv[1])
    warm = {**given, "rows": WARM_UP_ROWS, "first": given["first"] + given["rows"]}
    ask(SimpleNamespace(**warm))
    began, cpu = time.monotonic(), _cpu_s()
    answers = ask(SimpleNamespace(**given))
    found = {
        "rows": given["rows"],
        "warm_up": WARM_UP_ROWS,
        "seconds": time.monotonic() - began,
        "cpu_s": _cpu_s() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
    if answers != given["rows"]:
        sys.exit(f"{answers} answers to {given['rows']} questions")
    print("\n" + json.dumps(found))


def _cpu_s() -> float:
    spent = [
        resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return sum(one.ru_utime + one.ru_stime for one in spent)
