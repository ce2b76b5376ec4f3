"""Regular expressions that users write, matched within a time that no answer can stretch.

Python's own `re` can take years over a short text, and nothing stops it: a worker would hang, lose its
leases, and every worker after it as well. The `regex` package reads the same patterns, look-arounds and
back references included (an engine of automata would refuse those), and gives up after a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    import regex

LIMIT_S = 0.05
"""Time that one match may take; usual ones take microseconds."""
MAX_UNROLLED = 1_000_000
"""Most copies of its parts that a pattern may ask for by repeats of repeats: the engine makes them all."""
_REPEAT = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_HOPELESS = 3
_SHORT_LIMIT_S = 0.002
"""Time once the last matches all took too long: hundreds of answers may wait to be read in a row, and the
worker's leases with them."""


class UserPattern:
    """A pattern, compiled once.

    Args:
        pattern: As the user wrote it.
        where: What messages call it: `output.pattern`.

    Raises:
        UsageError: It is no regular expression.
    """

    def __init__(self, pattern: str, where: str) -> None:
        # Most jobs have no pattern, and every command that reads a job comes by here.
        import regex

        if _unrolled(pattern) > MAX_UNROLLED:
            raise UsageError(
                f"{where} repeats its parts more than {MAX_UNROLLED:,} times.",
                hint="Lower the numbers in braces, or leave out a level of them.",
            )
        try:
            self._compiled = regex.compile(pattern)
        except regex.error as error:
            raise UsageError(f"{where} is no regular expression: {error}.") from None
        except (RecursionError, MemoryError, OverflowError):
            raise UsageError(f"{where} is nested too deep.") from None
        self._overtimes = 0
        self.has_groups = bool(self._compiled.groups)

    def search(self, text: str) -> regex.Match[str] | None:
        """The first match.

        Raises:
            TimeoutError: It took too long to find out.
        """
        with self._watched() as limit_s:
            return self._compiled.search(text, timeout=limit_s)

    def fullmatch(self, text: str) -> regex.Match[str] | None:
        """The match of the whole text; raises like `search`."""
        with self._watched() as limit_s:
            return self._compiled.fullmatch(text, timeout=limit_s)

    def find_all(self, text: str) -> list[regex.Match[str]]:
        """All matches, within one limit of time; raises like `search`."""
        with self._watched() as limit_s:
            return list(self._compiled.finditer(text, timeout=limit_s))

    @contextmanager
    def _watched(self) -> Iterator[float]:
        try:
            yield LIMIT_S if self._overtimes < _HOPELESS else _SHORT_LIMIT_S
        except TimeoutError:
            self._overtimes += 1
            raise TimeoutError("matching the pattern takes too long") from None
        self._overtimes = 0


def _unrolled(pattern: str) -> int:
    """About how many parts the pattern has once its counted repeats are written out."""
    sizes = [0]  # of each group that is open, the pattern itself first
    last = 0  # size of the part before, which a repeat is about
    place = 0
    while place < len(pattern):
        repeat = _REPEAT.match(pattern, place) if pattern[place] == "{" else None
        if repeat is not None:
            times = max((int(n[:9]) for n in repeat.groups() if n), default=1)
            sizes[-1] += last * max(times - 1, 0)
            last *= max(times, 1)
            place = repeat.end()
            continue
        if pattern[place] == "(":
            sizes.append(0)
        elif pattern[place] == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
            place += pattern[place] == "\\"
        place += 1
    return sum(sizes)
