"""The driver: one loop per worker process that keeps a tier's calls in flight.

A task of the queue only wakes it. It claims chunks straight from the table, fairly between jobs, asks
the ledger turn by turn for the money of the calls that can go out now, sends them, and tells the
ledger in the same turns what came of those before. It ends when nothing is left to claim, when its
time slice is over, or when the worker shuts down; then its chunks are finished or handed back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from cascade_batch.domain.answer import Outcome, RefusalKind, Refused
from cascade_batch.engine.chunk_rows import load_rows
from cascade_batch.engine.connection import Database
from cascade_batch.engine.context import JobContexts
from cascade_batch.engine.open_chunk import OpenChunk, RowTask
from cascade_batch.ledger import ChunkTurn, Lease, claim_chunks, expire_leases, take_turn
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.providers.limits import Gates, TierGate

logger = logging.getLogger(__name__)

TURN_S = 0.03
"""Least time between two turns: a turn costs a commit, and calls that end meanwhile share it."""
MONEY_WAIT_S = 0.2
"""How long a chunk waits for money that other calls hold."""
CLAIM_WAIT_S = 0.25
"""How long an empty table is left alone while calls are in flight."""
BREAKER_PATIENCE_S = 2.0
"""An outage that lasts longer than this sends a tier's chunks back to the table."""
RESERVE_AHEAD = 8
"""Least calls reserved beyond those that can be sent now, so that a free slot never waits for a turn."""
RETRY_BASE_S = 0.25
MOST_CHUNKS_PER_CLAIM = 16


@dataclass(frozen=True, slots=True)
class DriveSummary:
    """What a run of the driver did. `slice_over`: it stopped although more may wait."""

    chunks: int
    calls: int
    slice_over: bool


@dataclass(slots=True)
class Driver:
    """See the module. One per run; what outlives a run (session, gates, contexts) is handed in.

    Attributes:
        owner: Names this process in leases; unique over all hosts.
        tiers: Names of the tiers that this worker serves.
        should_stop: Whether the worker is shutting down.
        on_drained: Told of a job none of whose chunks is open any more.
    """

    database: Database
    owner: str
    tiers: list[str]
    lease_s: float
    slice_s: float
    providers: Providers
    gates: Gates
    contexts: JobContexts
    should_stop: Callable[[], bool]
    on_drained: Callable[[str], Awaitable[None]]
    _chunks: dict[int, OpenChunk] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)
    _fatal: dict[int, str] = field(default_factory=dict)
    _claim_again_at: float = 0.0
    _last_turn_at: float = 0.0
    _ended_since_turn: int = 0
    _draining: bool = False
    _done_chunks: int = 0
    _done_calls: int = 0

    async def run(self) -> DriveSummary:
        """Work until there is nothing to do, the slice is over or the worker stops."""
        loop = asyncio.get_running_loop()
        slice_ends = loop.time() + self.slice_s
        slice_over = False
        while True:
            if not self._draining and (self.should_stop() or loop.time() > slice_ends):
                slice_over = loop.time() > slice_ends
                self._drain(hand_back=not slice_over)
            await self._claim_if_hungry()
            if not self._chunks:
                if self._draining or not await self._free_expired():
                    break
                continue
            await self._fail_jobs()
            await self._turn()
            self._pump()
            await self._wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        return DriveSummary(self._done_chunks, self._done_calls, slice_over)

    def _drain(self, *, hand_back: bool) -> None:
        self._draining = True
        if hand_back:
            for chunk in self._chunks.values():
                chunk.stop()

    async def _free_expired(self) -> bool:
        """Nobody else may be there to sweep: look for chunks of workers that died."""
        freed = await self.database.call(expire_leases)
        self._claim_again_at = 0.0
        return freed > 0

    # Claiming

    async def _claim_if_hungry(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._draining or now < self._claim_again_at:
            return
        hungry, missing = self._hungry_tiers()
        if not hungry:
            return
        most = min(max(math.ceil(missing / 200), 1), MOST_CHUNKS_PER_CLAIM)
        leases = await self.database.call(
            lambda c: claim_chunks(
                c, owner=self.owner, tiers=hungry, lease_s=self.lease_s, most=most
            )
        )
        for lease in leases:
            await self._open(lease, now)
        if not leases:
            self._claim_again_at = now + CLAIM_WAIT_S

    def _hungry_tiers(self) -> tuple[list[str], int]:
        """Tiers with more room for calls than rows to fill it, and how many rows are missing."""
        by_tier: dict[str, list[OpenChunk]] = {}
        for chunk in self._chunks.values():
            by_tier.setdefault(chunk.tier.name, []).append(chunk)
        hungry: list[str] = []
        missing = 0
        for tier in self.tiers:
            chunks = by_tier.get(tier, [])
            gates = {id(g): g for g in map(self._gate, chunks)}
            room = sum(self._room(g, chunks) for g in gates.values()) if gates else 1
            waiting = sum(len(c.todo) for c in chunks if c.wants_more)
            if waiting < room:
                hungry.append(tier)
                missing += room - waiting
        return hungry, missing

    async def _open(self, lease: Lease, claimed_at: float) -> None:
        context = await self.database.call(lambda c: self.contexts.get(c, lease.job_id))
        if context is None:
            return
        tasks = await self.database.call(lambda c: load_rows(c, lease))
        self._chunks[lease.chunk_id] = OpenChunk(
            lease=lease,
            context=context,
            tier=context.spec.tiers[lease.tier_no],
            todo=tasks,
            valid_until=claimed_at + self.lease_s,
            renewed_at=claimed_at,
            turn=ChunkTurn(
                chunk_id=lease.chunk_id,
                fence=lease.fence,
                turn_no=lease.turn_no,
                job_id=lease.job_id,
                tier_no=lease.tier_no,
            ),
        )

    def _room(self, gate: TierGate, chunks: Iterable[OpenChunk]) -> int:
        """How many more calls should be reserved: what can be sent now, and some ahead."""
        capacity = gate.try_capacity()
        if not capacity and not self._tasks:
            return 0
        ready = sum(len(c.ready) for c in chunks if self._gate(c) is gate)
        return max(capacity + self._ahead() - ready, 0)

    def _ahead(self) -> int:
        return max(RESERVE_AHEAD, self._ended_since_turn + self._ended_since_turn // 2)

    def _gate(self, chunk: OpenChunk) -> TierGate:
        return self.gates.gate_for(chunk.tier)

    # Turns

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        turns: list[tuple[OpenChunk, ChunkTurn]] = []
        for chunk, wants in self._wants(now):
            renew = now - chunk.renewed_at > self.lease_s / 3
            ending = chunk.is_idle and not chunk.wants_more
            giving_back = bool(chunk.ready) and (chunk.hand_back or chunk.give_up)
            if wants or renew or ending or giving_back or not chunk.turn.is_empty:
                turn = chunk.next_turn(wants)
                turns.append((chunk, turn))
        self._last_turn_at = now
        self._ended_since_turn = 0
        if not turns:
            return
        grants = await self.database.call(
            lambda c: take_turn(
                c, owner=self.owner, lease_s=self.lease_s, turns=[t for _, t in turns]
            )
        )
        drained: set[int] = set()
        for chunk, turn in turns:
            grant = grants.get(turn.chunk_id)
            self._done_calls += turn.calls
            if grant is None or chunk.has_ended:
                del self._chunks[turn.chunk_id]
                chunk.is_lost = True
                if grant is None and not chunk.has_ended:
                    logger.warning("lease of chunk %s was lost", turn.chunk_id)
                if turn.state == "done":
                    self._done_chunks += 1
                    drained.add(turn.job_id)
                continue
            chunk.valid_until = now + self.lease_s
            chunk.renewed_at = now
            chunk.accept(turn, grant, now=loop.time(), wait_s=MONEY_WAIT_S)
        await self._tell_drained(drained)

    def _wants(self, now: float) -> Iterable[tuple[OpenChunk, int]]:
        """How many calls each chunk should reserve, oldest chunk first, within its gate's room."""
        room: dict[int, int] = {}
        for chunk in self._chunks.values():
            gate = self._gate(chunk)
            key = id(gate)
            if key not in room:
                room[key] = self._room(gate, self._chunks.values())
            wants = 0
            if chunk.wants_more and now >= chunk.wait_until:
                wants = max(min(len(chunk.todo), room[key]), 0)
                room[key] -= wants
            yield chunk, wants

    async def _tell_drained(self, job_ids: Iterable[int]) -> None:
        for job_id in job_ids:
            drained = await self.database.call(partial(_is_drained, job_id))
            if drained is not None:
                await self.on_drained(drained)

    async def _fail_jobs(self) -> None:
        for job_id, reason in list(self._fatal.items()):
            await self.database.call(partial(_fail_job, job_id, reason))
            for chunk in self._chunks.values():
                if chunk.lease.job_id == job_id:
                    chunk.stop()
            del self._fatal[job_id]

    # Calls

    def _pump(self) -> None:
        """Send what is reserved, as far as the gates let it through."""
        now = asyncio.get_running_loop().time()
        for chunk in self._chunks.values():
            gate = self._gate(chunk)
            open_for_s = gate.breaker_open_for_s
            if open_for_s > BREAKER_PATIENCE_S and not chunk.hand_back:
                chunk.stop(delay_s=open_for_s)
            if chunk.hand_back or chunk.give_up or now > chunk.valid_until:
                continue
            if chunk.lease.job_id in self._fatal:
                continue
            free = gate.try_capacity()
            while chunk.ready and free > 0:
                task = chunk.ready.popleft()
                chunk.in_flight[task.row_no] = task
                call = asyncio.create_task(self._call(chunk, task, gate))
                self._tasks.add(call)
                call.add_done_callback(self._tasks.discard)
                free -= 1

    async def _call(self, chunk: OpenChunk, task: RowTask, gate: TierGate) -> None:
        body = self._body(chunk, task)
        if isinstance(body, Refused):
            self._ended(chunk, task, body)
            return
        permit = await gate.acquire(len(body) // 4 + chunk.tier.max_output_tokens)
        loop = asyncio.get_running_loop()
        if chunk.is_lost or chunk.hand_back or loop.time() > chunk.valid_until:
            gate.give_back(permit)
            chunk.in_flight.pop(task.row_no, None)
            chunk.ready.append(task)
            self._progress.set()
            return
        outcome = await self.providers.call(chunk.tier, body)
        gate.release(permit, outcome)
        self._ended(chunk, task, outcome)

    def _body(self, chunk: OpenChunk, task: RowTask) -> bytes | Refused:
        """The request, if it can't cost more than what was reserved for it."""
        prompt = chunk.context.makers[chunk.lease.tier_no].prompt_for(task.fields)
        body = self.providers.request_body(chunk.tier, prompt, chunk.context.spec.output)
        worst = worst_case_nanousd(chunk.tier, len(body), text_only=prompt.text_only)
        if worst > task.want.worst_nanousd:
            # A template may depend on something that changed (now, a random number): never send
            # what was not reserved.
            return Refused(RefusalKind.ROW, "the prompt is longer now than when it was submitted")
        return body

    def _ended(self, chunk: OpenChunk, task: RowTask, outcome: Outcome) -> None:
        self._progress.set()
        self._ended_since_turn += 1
        if chunk.is_lost:
            return
        if isinstance(outcome, Refused) and outcome.kind is RefusalKind.TIER:
            self._fatal[chunk.lease.job_id] = outcome.message
        if not chunk.is_worth_another_try(task, outcome):
            del chunk.in_flight[task.row_no]
            chunk.finish(task, outcome)
            self._pump_one(chunk)
            return
        task.attempts += isinstance(outcome, Refused) and outcome.kind in (
            RefusalKind.SERVER,
            RefusalKind.CONNECT,
        )
        delay_s = RETRY_BASE_S * 2 ** min(task.attempts - 1, 6) if task.attempts else 0.0
        asyncio.get_running_loop().call_later(delay_s, self._ready_again, chunk, task)

    def _ready_again(self, chunk: OpenChunk, task: RowTask) -> None:
        if chunk.in_flight.pop(task.row_no, None) is not None:
            chunk.ready.append(task)
        self._progress.set()

    def _pump_one(self, chunk: OpenChunk) -> None:
        """A slot came free: fill it at once, from this chunk first."""
        if chunk.ready and not (chunk.hand_back or chunk.give_up):
            self._pump()

    async def _wait(self) -> None:
        """Until something ended, but not for less than a turn and not past a renewal."""
        loop = asyncio.get_running_loop()
        if self._tasks or any(c.wait_until > loop.time() for c in self._chunks.values()):
            timeout_s = min(CLAIM_WAIT_S, self.lease_s / 4)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), timeout_s)
        else:
            await asyncio.sleep(0)
        self._progress.clear()
        pause_s = self._last_turn_at + TURN_S - loop.time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)


async def _is_drained(
    job_id: int, connection: psycopg.AsyncConnection[tuple[Any, ...]]
) -> str | None:
    cursor = await connection.execute(
        "SELECT j.name FROM cascade_store.job j WHERE j.job_id = %s AND NOT EXISTS ("
        " SELECT 1 FROM cascade_store.chunk c WHERE c.job_id = j.job_id AND c.state <> 'done')",
        (job_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def _fail_job(
    job_id: int, reason: str, connection: psycopg.AsyncConnection[tuple[Any, ...]]
) -> None:
    await connection.execute(
        "UPDATE cascade_store.job SET state = 'failed', reason = %s, finished_at = now()"
        " WHERE job_id = %s AND state IN ('queued', 'running')",
        (reason, job_id),
    )
