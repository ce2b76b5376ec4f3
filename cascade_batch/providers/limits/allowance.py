"""The block of requests or tokens that a process holds, taken from the tier's bucket."""

from __future__ import annotations

from collections import deque


class Allowance:
    """Units granted to this process, each good until a time. Oldest are used first.

    Units expire because a bucket can only promise a limit per minute for units that are used about
    when they were granted (see `bucket`). Times are seconds of one monotonic clock.

    Attributes:
        held: Units to spend; negative while calls turned out larger than what they were let in for.
    """

    __slots__ = ("_blocks", "held")

    def __init__(self) -> None:
        self.held = 0
        self._blocks: deque[list[float]] = deque()

    def has(self, units: int, now: float) -> bool:
        """Whether `units` can be taken at `now`."""
        blocks = self._blocks
        while blocks and blocks[0][0] <= now:
            self.held -= int(blocks.popleft()[1])
        return self.held >= units

    def take(self, units: int) -> None:
        """Take units that `has` found, or run into debt: a call used more than it was let in for."""
        self.held -= units
        blocks = self._blocks
        while units > 0 and blocks:
            block = blocks[0]
            if block[1] > units:
                block[1] -= units
                return
            units -= int(block[1])
            blocks.popleft()

    def add(self, units: int, expires_at: float) -> None:
        """Add a grant; a debt is paid first. Grants come in the order in which they expire."""
        usable = units + self.held if self.held < 0 else units
        self.held += units
        if usable <= 0:
            return
        blocks = self._blocks
        if blocks and blocks[-1][0] >= expires_at:
            # Units restored while the grant was under way: the earlier time holds for both.
            blocks[-1][0] = expires_at
            blocks[-1][1] += usable
        else:
            blocks.append([expires_at, usable])

    def restore(self, units: int, expires_at: float) -> None:
        """Put units back that were taken and not used. They live no longer than the newest grant,
        and until `expires_at` if there is none."""
        blocks = self._blocks
        if blocks:
            blocks[-1][1] += units
            self.held += units
        else:
            self.add(units, expires_at)

    def surrender(self, keep: int, before: float) -> int:
        """Take out what exceeds `keep`, and everything that expires at or before `before`.

        Returns the number of units to give back to the bucket.
        """
        back = 0
        blocks = self._blocks
        while blocks and (blocks[0][0] <= before or self.held > keep):
            block = blocks[0]
            units = int(block[1])
            if block[0] > before:
                units = min(units, self.held - max(keep, 0))
            if units < block[1]:
                block[1] -= units
            else:
                blocks.popleft()
            self.held -= units
            back += units
        return back
