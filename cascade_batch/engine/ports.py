"""What the engine needs from the dispatcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ChunkNotice:
    """A chunk that waits for a worker. Names are there for people who watch the queue."""

    chunk_id: int
    job: str
    tier: str
    rows: str


class Publisher(Protocol):
    """Tells workers that there is something to do. Only hints: losing one is harmless."""

    def publish_chunks(self, notices: Sequence[ChunkNotice]) -> None:
        """Wake workers of the chunks' tiers."""

    def publish_plan(self, job: str) -> None:
        """Ask for the planner."""
