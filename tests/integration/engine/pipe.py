"""A data set that comes down a pipe, and the job that drafts its rows as they come."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from typing import Any

from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.early_start import submit_early
from cascade_batch.engine.submit import Submission
from tests.integration.engine.bench import Bench, until


def spec_of(name: str, tiers: list[Tier], **more: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": name,
            "data": "data.jsonl",
            "budget_nanousd": 10**12,
            "prompt": "{{ text }}",
            "policy": "confidence",
            "tiers": tuple(tiers),
            **more,
        }
    )


class Pipe:
    """A data set that somebody makes while it is read."""

    def __init__(self, bench: Bench, spec: JobSpec) -> None:
        self._rows: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()
        self.bench = bench
        self.job = spec.name
        self.submission: asyncio.Task[Submission] = asyncio.ensure_future(
            asyncio.to_thread(submit_early, bench.engine, spec, self._read, bench.messages)
        )

    def _read(self, *, check: Callable[[Record], None]) -> Iterator[Record]:
        line_no = 0
        while (item := self._rows.get()) is not None:
            if isinstance(item, Exception):
                raise item
            line_no += 1
            record = Record(custom_id=None, line_no=line_no, fields=item)
            check(record)
            yield record

    def put(self, *texts: str, **more: Any) -> None:
        for text in texts:
            self._rows.put({"text": text, **more})

    def fail(self, error: Exception) -> None:
        self._rows.put(error)

    def end(self) -> None:
        self._rows.put(None)

    async def stored(self, rows: int) -> None:
        """Until so many rows can be seen."""
        count = "SELECT coalesce(max(rows_total), 0) FROM cascade_store.job WHERE name = :job"
        await until(lambda: self.submission.done() or self.bench.one(count, job=self.job) >= rows)
        if self.submission.done():
            self.submission.result()
