"""What a worker knows of a job, loaded once per process: specification, prompts, judge."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.row_bounds import prompt_makers
from cascade_batch.ledger.lease import Buys
from cascade_batch.prompts import PromptMaker
from cascade_batch.quality import Judge, make_judge

_MOST_JOBS = 64


@dataclass(slots=True)
class JobContext:
    """A job as a worker needs it.

    Attributes:
        makers: A prompt maker per tier.
        tries: (row, purchase) -> how often this process sent the row to a server that was at fault.
        note: What this process noted on the job about an outage; None: nothing.
    """

    job_id: int
    name: str
    spec: JobSpec
    makers: list[PromptMaker]
    judge: Judge
    tries: dict[tuple[int, Buys], int] = field(default_factory=dict)
    note: str | None = None


class JobContexts:
    """The jobs that this process worked on last."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, JobContext] = OrderedDict()

    async def get(
        self, connection: psycopg.AsyncConnection[tuple[Any, ...]], job_id: int
    ) -> JobContext | None:
        """The job's context; None if the job was deleted."""
        known = self._known.get(job_id)
        if known is not None:
            self._known.move_to_end(job_id)
            return known
        cursor = await connection.execute(
            "SELECT name, coalesce(spec_as_written, spec::json) FROM cascade_store.job"
            " WHERE job_id = %s",
            (job_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        spec = JobSpec.model_validate(row[1])
        context = JobContext(
            job_id=job_id,
            name=row[0],
            spec=spec,
            makers=prompt_makers(spec),
            judge=make_judge(spec.output, spec.check, check_path=spec.check_path),
        )
        self._known[job_id] = context
        if len(self._known) > _MOST_JOBS:
            self._known.popitem(last=False)
        return context
