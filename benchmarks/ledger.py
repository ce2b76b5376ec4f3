"""The ledger alone: rows per second that are reserved, settled and stored, beside a transaction per call.

    python -m benchmarks.ledger [--rows 200000] [--seconds 4] [--slower-by 1 2 8]

Workers are processes with a connection each, as a job's are. Each claims chunks and takes turns of the
product's ledger: one statement that settles the calls of the last turn, stores their answers and reserves for
the next ones. The peer does what a careful person would write: for each call one statement that reserves
where there is money, and one that stores the answer and settles, each a transaction. Both commit durably, to
the same server, on the same disk; nothing is asked of any model. After each run the audit has to agree.

How much fewer commits win depends on how long one waits for its disk. So all is measured on the disk as it
is, and again on servers whose flushes take longer by so many milliseconds (see `slow_disk`).
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from benchmarks.rig import BenchmarkError, record
from benchmarks.slow_disk import Flushes, own_postgres, why_not_slower
from cascade_batch.domain.answer import Answer, Signals
from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Tier, TierPrice
from cascade_batch.engine.chunk_rows import RowTask, load_rows
from cascade_batch.engine.plan import plan_job
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.engine.submit import submit_job
from cascade_batch.ledger import ChunkTurn, Lease, audit_job, claim_chunks, take_turn
from cascade_batch.ledger.turn import Want
from cascade_batch.providers import freeze_price
from cascade_batch.store.engine import libpq_url, make_engine
from cascade_batch.store.migrate import upgrade

WORKERS = (1, 4, 16)
JOBS = (1, 16)
SLOWER_BY_MS = (1.0, 2.0, 8.0)
"""Much of what is in use lies between the first two (SSDs, network block storage); at 7,200 turns a minute, a
disk takes the last for one turn."""
CALLS_PER_TURN = 256
"""About what a worker with 256 calls in flight settles at once."""
CHUNK_ROWS = 200
"""As jobs have it by default."""
_LEASE_S = 600.0
_COST_NANOUSD = 100
_ROW_AT_A_TIME = """
CREATE TABLE IF NOT EXISTS peer_balance (
    job_id int PRIMARY KEY, budget bigint NOT NULL, spent bigint NOT NULL, reserved bigint NOT NULL,
    CHECK (spent + reserved <= budget)) WITH (fillfactor = 20);
CREATE TABLE IF NOT EXISTS peer_answer (
    job_id int, row_no int, text text, cost bigint, PRIMARY KEY (job_id, row_no));
TRUNCATE peer_balance, peer_answer;
"""


def _reader(rows: int) -> Any:
    def read(*, check: Callable[[Record], None]) -> Iterator[Record]:
        for line_no in range(1, rows + 1):
            record = Record(custom_id=None, line_no=line_no, fields={"text": f"row {line_no}"})
            check(record)
            yield record

    return read


class _Nobody:
    """Whom a benchmark tells of chunks: its own workers look for them by themselves."""

    def publish_chunks(self, notices: Sequence[ChunkNotice]) -> None:
        """Nobody listens."""

    def publish_plan(self, job: str) -> None:
        """Nobody listens."""


def release_all(engine: sa.Engine, name: str) -> None:
    """Plan a job's first wave, where it is large enough to have been left to the planner."""
    plan_job(engine, name, _Nobody())


def _submit(engine: sa.Engine, name: str, rows: int) -> int:
    tier = Tier(
        name="small",
        model="small",
        base_url="http://127.0.0.1:9/v1",
        price=TierPrice(input="0.15", output="0.6"),
        max_output_tokens=4,
    )
    spec = JobSpec.model_validate(
        {
            "name": name,
            "policy": "confidence",
            "data": "data.jsonl",
            "budget_nanousd": 10**14,
            "prompt": "{{ text }}",
            "tiers": (freeze_price(tier),),
            "cache": False,
        }
    )
    job_id = submit_job(engine, spec, _reader(rows)).job_id
    release_all(engine, name)
    return job_id


@dataclass
class _Held:
    """A chunk that a worker holds: what is left of it, and the calls that are in flight."""

    lease: Lease
    todo: deque[RowTask]
    turn_no: int
    in_flight: list[Want] = field(default_factory=list)

    def turn(self, room: int) -> ChunkTurn:
        """Settle all that was in flight, reserve for as many more as there is room."""
        turn = ChunkTurn.under(self.lease, turn_no=self.turn_no)
        for want in self.in_flight:
            turn.settle(_answer(want.row_no), want)
        self.in_flight = [self.todo.popleft().want for _ in range(min(room, len(self.todo)))]
        turn.wants = self.in_flight
        turn.state = "leased" if self.in_flight or self.todo else "done"
        self.turn_no += 1
        return turn


async def answer_all(url: str, owner: str) -> int:
    """Claim, reserve, settle, until nothing is left; how many rows that were.

    As the driver does: chunks are claimed before turns would run short of rows, and the oldest come first.
    """
    rows = 0
    held: list[_Held] = []
    is_all_claimed = False
    connection = await psycopg.AsyncConnection.connect(libpq_url(url), autocommit=True)
    async with connection:
        while True:
            missing = CALLS_PER_TURN - sum(len(chunk.todo) for chunk in held)
            if missing > 0 and not is_all_claimed:
                leases = await claim_chunks(
                    connection, owner=owner, tiers=["small"], lease_s=_LEASE_S,
                    most=math.ceil(missing / CHUNK_ROWS),
                )  # fmt: skip
                for lease in leases:
                    held.append(_Held(lease, await load_rows(connection, lease), lease.turn_no))
                is_all_claimed = not leases
            if not held:
                return rows
            rows += await _take_turn(connection, owner, held)
            held = [chunk for chunk in held if chunk.in_flight or chunk.todo]


async def _take_turn(
    connection: psycopg.AsyncConnection[Any], owner: str, held: Sequence[_Held]
) -> int:
    """A turn of all chunks that have a part in it; how many rows it settled."""
    room = CALLS_PER_TURN
    turns = []
    for chunk in held:
        if chunk.in_flight or room:
            turns.append(chunk.turn(room))
            room -= len(turns[-1].wants)
    granted = await take_turn(connection, owner=owner, lease_s=_LEASE_S, turns=turns)
    for turn in turns:
        if granted[turn.chunk_id].granted != len(turn.wants):
            raise BenchmarkError("a reservation was refused")
    return sum(turn.calls for turn in turns)


def _answer(row_no: int) -> Answer:
    return Answer(
        row_no=row_no,
        tier_no=0,
        text="up",
        value="up",
        passed=None,
        error=None,
        finish_reason="stop",
        usage=Usage(input_tokens=20, output_tokens=1),
        cost_nanousd=_COST_NANOUSD,
        latency_ms=20.0,
        signals=Signals(),
    )


def _ours(url: str, number: int, barrier: Barrier, _seconds: float) -> int:
    barrier.wait()
    return asyncio.run(answer_all(url, f"worker-{number}"))


def _peer(url: str, number: int, barrier: Barrier, seconds: float) -> int:
    """A transaction to reserve and one to settle, for each call, on one job."""
    rows = 0
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        barrier.wait()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            reserved = connection.execute(
                "UPDATE peer_balance SET reserved = reserved + 1000"
                " WHERE job_id = 1 AND budget - spent - reserved >= 1000"
            )
            if reserved.rowcount != 1:
                raise BenchmarkError("a reservation was refused")
            # In one statement: nobody waits for the job's row while a COMMIT travels.
            connection.execute(
                "WITH stored AS (INSERT INTO peer_answer VALUES (1, %s, 'up', 100))"
                " UPDATE peer_balance SET reserved = reserved - 1000, spent = spent + 100"
                " WHERE job_id = 1",
                [number * 10**7 + rows],
            )
            rows += 1
    return rows


def _together(
    work: Callable[[str, int, Barrier, float], int], url: str, workers: int, seconds: float
) -> tuple[int, float]:
    """Rows that all of them did, and the time from when they all were ready."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, not by every worker: that took longer than what is measured.
    context.set_forkserver_preload(
        ["benchmarks.slow_disk", submit_job.__module__, plan_job.__module__]
    )
    with context.Manager() as manager:
        barrier = manager.Barrier(workers + 1)
        with context.Pool(workers) as pool:
            ends = [pool.apply_async(work, (url, n, barrier, seconds)) for n in range(workers)]
            barrier.wait()
            began = time.monotonic()
            rows = sum(end.get() for end in ends)
            return rows, time.monotonic() - began


def measure(
    url: str, rows: int, seconds: float, jobs_of: Sequence[int] = JOBS
) -> list[dict[str, Any]]:
    """Ours beside the peer, for each number of workers and jobs."""
    engine = make_engine(url)
    upgrade(engine)
    found = []
    for workers in WORKERS:
        peer, flush_ms = _measure_peer(url, workers, seconds)
        for jobs in jobs_of:
            ids = [_submit(engine, f"{workers} {jobs} {n}", rows // jobs) for n in range(jobs)]
            done, took_s = _together(_ours, url, workers, seconds)
            if done != rows // jobs * jobs:
                raise BenchmarkError(f"{done} rows were settled, not {rows}")
            _require_in_order(engine, ids)
            found.append(
                {
                    "flush_ms": round(flush_ms, 3),
                    "workers": workers,
                    "jobs": jobs,
                    "rows": done,
                    "rows_per_s": round(done / took_s),
                    "row_at_a_time_per_s": round(peer),
                    "ratio": round(done / took_s / peer, 1),
                }
            )
    engine.dispose()
    return found


def _measure_peer(url: str, workers: int, seconds: float) -> tuple[float, float]:
    """The peer's rows per second, and the milliseconds that a flush took meanwhile."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute(_ROW_AT_A_TIME)
        connection.execute("INSERT INTO peer_balance VALUES (1, %s, 0, 0)", [10**15])
    before = Flushes.until_now(url)
    done, took_s = _together(_peer, url, workers, seconds)
    return done / took_s, Flushes.until_now(url).mean_ms(before)


def _require_in_order(engine: sa.Engine, job_ids: list[int]) -> None:
    for job_id in job_ids:
        with engine.connect() as connection:
            differences = audit_job(connection, job_id).differences
        if differences:
            raise BenchmarkError("; ".join(differences))


def own_database(url: str, name: str) -> str:
    """A new database beside that of the URL, so that no worker of a stack takes part; its URL."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        if connection.execute("SHOW synchronous_commit").fetchone() != ("on",):
            raise BenchmarkError("the server does not commit durably")
        connection.execute(f"CREATE DATABASE {name}")
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def measure_disk(slower_by_ms: float, rows: int, seconds: float) -> list[dict[str, Any]]:
    """All runs on a server of its own, on the disk as it is or a slower one.

    Raises:
        BenchmarkError: By the server's own clock, its flushes took no longer than before.
    """
    with own_postgres(slower_by_ms) as url:
        own = own_database(url, "ledger_benchmark")
        # What many jobs cost beside one is no matter of the disk, and half of the rows tell as much.
        enough, jobs_of = (rows // 2, JOBS[:1]) if slower_by_ms else (rows, JOBS)
        found = measure(own, enough, seconds, jobs_of)
    if any(run["flush_ms"] < slower_by_ms for run in found):
        raise BenchmarkError(
            f"the server did not load what slows its flushes by {slower_by_ms:g} ms"
        )
    return [{"flush_slower_by_ms": slower_by_ms, **run} for run in found]


def show(runs: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(box=None)
    for column in (
        "flush slower by, ms", "flush, ms", "workers", "jobs", "rows/s",
        "a call at a time: rows/s", "ratio",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for run in runs:
        table.add_row(
            f"{run['flush_slower_by_ms']:g}",
            f"{run['flush_ms']:.2f}",
            str(run["workers"]),
            str(run["jobs"]),
            f"{run['rows_per_s']:,}",
            f"{run['row_at_a_time_per_s']:,}",
            f"{run['ratio']:.0f}",
        )
    Console().print(table)


def main() -> None:
    """Measure, record, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="for the peer")
    parser.add_argument(
        "--slower-by", type=float, nargs="*", default=SLOWER_BY_MS, metavar="MS",
        help="by how much flushes take longer in more runs; nothing: on the disk as it is only",
    )  # fmt: skip
    given = parser.parse_args()
    if given.slower_by and (why_not := why_not_slower()):
        print(f"Slower disks are left out: {why_not}.")
        given.slower_by = ()
    runs = [
        run
        for slower_by_ms in (0.0, *given.slower_by)
        for run in measure_disk(slower_by_ms, given.rows, given.seconds)
    ]
    record("ledger", {"runs": runs}, show=False)
    show(runs)


if __name__ == "__main__":
    main()
