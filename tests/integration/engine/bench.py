"""Everything that a job needs, in one process and on real parts: Postgres, a provider over HTTP, the
driver, the planner and the sweeper. Only the broker is left out: what it would carry is kept or lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Limits, Tier, TierPrice
from cascade_batch.engine.connection import Database
from cascade_batch.engine.context import JobContexts
from cascade_batch.engine.driver import Driver, DriveSummary
from cascade_batch.engine.plan import plan_job
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice, Publisher
from cascade_batch.engine.row_bounds import Reader
from cascade_batch.engine.status import job_status
from cascade_batch.engine.submit import submit_job
from cascade_batch.ledger import AuditReport, audit_job
from cascade_batch.providers import Providers, freeze_price
from cascade_batch.providers.limits import Gates
from cascade_batch.providers.scripted import ScriptedProvider, script_from
from cascade_batch.results.reading import Result, stream_results
from cascade_batch.store.engine import make_engine

AT_WORK = ("queued", "running")
_numbers = count(1)


@dataclass
class Messages:
    """A publisher that delivers nothing and remembers everything."""

    chunks: list[ChunkNotice] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)

    def publish_chunks(self, notices: Sequence[ChunkNotice]) -> None:
        self.chunks += notices

    def publish_plan(self, job: str) -> None:
        self.plans.append(job)


def reader(rows: int | Sequence[dict[str, Any]]) -> Reader:
    """A data set in memory; a number: so many records with a column `text`."""
    if isinstance(rows, int):
        rows = [{"text": f"row {n}"} for n in range(rows)]

    def read(*, check: Callable[[Record], None]) -> Iterator[Record]:
        for line_no, fields in enumerate(rows, 1):
            record = Record(custom_id=None, line_no=line_no, fields=dict(fields))
            check(record)
            yield record

    return read


class Bench:
    """A database, a publisher (that delivers nothing, if none is given), and jobs."""

    def __init__(self, database_url: str, publisher: Publisher | None = None) -> None:
        self.database_url = database_url
        self.engine = make_engine(database_url, pooled=True)
        self.messages: Any = publisher or Messages()

    def tier(self, provider: ScriptedProvider | None, name: str, **more: Any) -> Tier:
        """A tier that the scripted model of the same name answers, at 1 and 2 USD per million tokens."""
        values: dict[str, Any] = {
            "model": name,
            "base_url": None if provider is None else provider.url,
            "price": TierPrice.model_validate({"input": "1", "output": "2"}),
            "max_output_tokens": 8,
            "timeout_s": 20,
            **more,
        }
        if isinstance(values.get("price"), dict):
            values["price"] = TierPrice.model_validate(values["price"])
        if isinstance(values.get("limits"), dict):
            values["limits"] = Limits.model_validate(values["limits"])
        return freeze_price(Tier.model_validate({"name": name, **values}))

    def submit(
        self,
        tiers: Sequence[Tier],
        rows: int | Sequence[dict[str, Any]] = 10,
        *,
        budget_nanousd: int = 10**12,
        name: str | None = None,
        planner: Planner = PLANNER,
        **more: Any,
    ) -> str:
        """Store a job; returns its name.

        Unless another policy is asked for, it is `confidence`: all rows are drafted at once, and what is
        left of the money is spent on them. The planner's own waves are for tests of the planner. And every
        row is asked: what need not be is for tests of the cache.
        """
        spec = JobSpec.model_validate(
            {
                "name": name or f"job {next(_numbers)}",
                "policy": "confidence",
                "data": "data.jsonl",
                "budget_nanousd": budget_nanousd,
                "prompt": "{{ text }}",
                "tiers": tuple(tiers),
                "cache": False,
                **more,
            }
        )
        submission = submit_job(self.engine, spec, reader(rows), planner=planner)
        self.messages.publish_chunks(submission.notices)
        return submission.name

    def status(self, job: str) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return job_status(connection, job)

    def state(self, job: str) -> str:
        return str(self.status(job)["status"])

    def results(self, job: str) -> list[Result]:
        with self.engine.connect() as connection:
            return list(stream_results(connection, self.job_id(job)))

    def job_id(self, job: str) -> int:
        return int(self.one("SELECT job_id FROM cascade_store.job WHERE name = :job", job=job))

    def audit(self, job: str) -> AuditReport:
        with self.engine.connect() as connection:
            return audit_job(connection, self.job_id(job))

    def one(self, query: str, **values: Any) -> Any:
        """The first column of the first row."""
        with self.engine.connect() as connection:
            return connection.execute(sa.text(query), values).scalar()

    def all(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def execute(self, query: str, **values: Any) -> int:
        with self.engine.begin() as connection:
            return connection.execute(sa.text(query), values).rowcount

    def plan(self, job: str, planner: Planner = PLANNER) -> Any:
        return plan_job(self.engine, job, self.messages, planner=planner)

    @contextlib.asynccontextmanager
    async def worker(
        self, tiers: Iterable[Tier | str], *, database_url: str | None = None, **more: Any
    ) -> AsyncIterator[Worker]:
        """A worker for these tiers, with a session and gates of its own."""
        worker = Worker(database_url or self.database_url, tiers, **more)
        try:
            yield worker
        finally:
            await worker.close()

    async def finish(self, job: str, worker: Worker, planner: Planner = PLANNER) -> None:
        """Drive and plan, as tasks and messages would, until the job is at work no more."""
        while self.state(job) in AT_WORK:
            await worker.drive()
            # Chunks that wait for a time must not wait for it here.
            self.execute("UPDATE cascade_store.chunk SET not_before = NULL WHERE state = 'ready'")
            await asyncio.to_thread(self.plan, job, planner)

    def hold_back(self, job: str, chunks: int) -> None:
        """The job's last chunks that nobody has taken wait for an hour, or for `finish`."""
        self.execute(
            "UPDATE cascade_store.chunk SET not_before = now() + interval '1 h' WHERE chunk_id IN ("
            " SELECT chunk_id FROM cascade_store.chunk WHERE job_id = :job AND state = 'ready'"
            " ORDER BY chunk_id DESC LIMIT :n)",
            job=self.job_id(job), n=chunks,
        )  # fmt: skip

    def rested(self, job: str) -> None:
        """As if the planner had rested for long enough."""
        self.execute("UPDATE cascade_store.job SET plan_not_before = NULL WHERE name = :j", j=job)

    async def run(self, job: str, tiers: Sequence[Tier]) -> None:
        """Do the whole job with one worker."""
        async with self.worker(tiers) as worker:
            await self.finish(job, worker)


class Worker:
    """What a worker process holds; `drive` is one task of it."""

    def __init__(self, database_url: str, tiers: Iterable[Tier | str], **more: Any) -> None:
        self.tiers = [t if isinstance(t, str) else t.name for t in tiers]
        self.database = Database(database_url)
        self.providers = Providers()
        self.gates = Gates(None)
        self.contexts = JobContexts()
        self.due: list[str] = []
        self.stopping = False
        self.options = {"owner": f"worker {next(_numbers)}", "lease_s": 30.0, "slice_s": 60.0}
        self.options.update(more)
        self.driver: Driver | None = None

    async def drive(self) -> DriveSummary:
        self.driver = Driver(
            database=self.database,
            tiers=self.tiers,
            providers=self.providers,
            gates=self.gates,
            contexts=self.contexts,
            should_stop=lambda: self.stopping,
            on_due=self._due,
            **self.options,
        )
        return await self.driver.run()

    async def _due(self, job: str) -> None:
        self.due.append(job)

    async def close(self) -> None:
        await self.providers.close()
        await self.gates.close()
        await self.database.close()


def provider(*, faults: Sequence[dict[str, Any]] = (), **models: Any) -> ScriptedProvider:
    """A scripted provider with models at 1 and 2 USD per million tokens, to be entered.

    A model is a dictionary of the script; `True`: one that repeats its prompt.
    """
    plain = {"price": {"input": "1", "output": "2"}}
    script = {
        "models": {
            name: plain | ({"echo": True} if model is True else model)
            for name, model in models.items()
        },
        "faults": list(faults),
    }
    return ScriptedProvider(script_from(script))


async def until(condition: Callable[[], bool]) -> None:
    """Go on with the event loop until it is so; the test's timeout ends a vain wait."""
    while not condition():  # noqa: ASYNC110 - there is no event for a test to wait for
        await asyncio.sleep(0.001)
