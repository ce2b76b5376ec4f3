"""The driver: one loop per worker process that keeps a tier's calls in flight.

A task of the queue only wakes it. It claims chunks straight from the table, fairly between jobs, asks
the ledger turn by turn for the money of the calls that can go out now, sends them, and tells the
ledger in the same turns what came of those before. It ends when nothing is left to claim, when its
time slice is over, or when the worker shuts down; what it has not finished then is handed back.

What is wrong with one job stops that job, with the reason, and no other: a context that can't be loaded,
a key that is refused, a turn that the ledger can't carry out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from cascade_batch.engine.calls import Calls, fault
from cascade_batch.engine.chunk_rows import load_rows
from cascade_batch.engine.connection import Database
from cascade_batch.engine.context import JobContext, JobContexts
from cascade_batch.engine.due import due_job
from cascade_batch.engine.job_notes import fail_job, set_note
from cascade_batch.engine.open_chunk import OpenChunk
from cascade_batch.engine.purchases import least_tried_first, make_purchase
from cascade_batch.errors import CascadeError
from cascade_batch.ledger import ChunkTurn, Grant, Lease, claim_chunks, expire_leases, take_turn
from cascade_batch.monitoring.observer import Observer
from cascade_batch.providers import Providers
from cascade_batch.providers.limits import Gates, TierGate

logger = logging.getLogger(__name__)

TURN_S = 0.03
"""Least time between two turns: a turn costs a commit, and calls that end meanwhile share it."""
MONEY_WAIT_S = 0.2
"""How long a chunk waits for money that other calls hold."""
CLAIM_WAIT_S = 0.25
"""How long a tier without chunks in the table is not asked for while others are at work."""
RESERVE_AHEAD = 8
"""Least calls reserved beyond those that can be sent now, so that a free slot never waits for a turn."""
DUE_ASKED_S = 0.25
"""How long it is not asked again whether a job is due, while more chunks of it are at hand."""
MOST_CHUNKS_PER_CLAIM = 16
CLAIM_AHEAD_TURNS = 3
"""For how many turns a claim is to last at the rate of the last one: a commit for each chunk of a fast tier
is a tenth of what the database does. At a job's end, a tenth of a second is not long for others to wait."""
_END_OF = {"done": "done", "ready": "returned"}
NOTICE_PATIENCE_S = 5.0
"""How long a run waits, at its end, for a broker to take its notices."""


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
        on_due: Told of a job that should be planned.
        observer: Told of chunks, calls and turns.
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
    on_due: Callable[[str], Awaitable[None]]
    observer: Observer = field(default_factory=Observer)
    _chunks: dict[int, OpenChunk] = field(default_factory=dict)
    _calls: Calls = field(init=False)
    _notices: set[asyncio.Task[None]] = field(default_factory=set)
    _claim_again_at: dict[str, float] = field(default_factory=dict)
    _chunk_rows: int = 200
    _ended_in_turn: Counter[TierGate] = field(default_factory=Counter)
    _last_turn_at: float = 0.0
    _due_asked_at: dict[int, float] = field(default_factory=dict)
    _draining: bool = False
    _stopping: bool = False
    _done_chunks: int = 0
    _done_calls: int = 0

    def __post_init__(self) -> None:
        self._calls = Calls(self.providers, self.gates, self._chunks, self.observer.ended)

    async def run(self) -> DriveSummary:
        """Work until there is nothing to do, the slice is over or the worker stops."""
        try:
            return await self._run()
        finally:
            # Nothing of a run may go on in the next one, which may be long in coming.
            await self._calls.end()
            await self.gates.rest()
            for chunk in self._chunks.values():
                self.observer.left(chunk.story, "lost")
            self.observer.rests()
            if self._notices:
                await asyncio.wait(self._notices, timeout=NOTICE_PATIENCE_S)

    async def _run(self) -> DriveSummary:
        loop = asyncio.get_running_loop()
        slice_ends = loop.time() + self.slice_s
        while True:
            self._stopping = self._stopping or self.should_stop()
            if self._stopping or loop.time() > slice_ends:
                self._drain()
            if not self._chunks:
                self._claim_again_at.clear()
                await self._claim_if_hungry()
            await self._fail_jobs()
            await self._note_outages()
            if not self._chunks:
                if self._draining or not await self._free_expired():
                    break
                continue
            self._calls.withdraw()
            await self._turn()
            self._calls.pump()
            # Not before the turn: what it reserved goes out while rows are loaded.
            await self._claim_if_hungry()
            self.observer.saw_gates((c.tier.name, self._gate(c)) for c in self._chunks.values())
            await self._wait()
        slice_over = self._draining and not self._stopping
        return DriveSummary(self._done_chunks, self._done_calls, slice_over)

    def _drain(self) -> None:
        """Give back what is held, as soon as the calls in flight have ended: a tier that lets ten calls
        a minute through, or none for an hour, must not keep the worker from its others."""
        self._draining = True
        for chunk in self._chunks.values():
            chunk.stop()

    async def _free_expired(self) -> bool:
        """Nobody else may be there to sweep: look for chunks of workers that died."""
        if self.database.was_lost_lately:
            # Others were cut off as well, maybe: they come back with answers that are paid for.
            return False
        freed = await self.database.call(expire_leases)
        self.observer.expired(freed)
        return freed > 0

    # Claiming

    async def _claim_if_hungry(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._draining:
            return
        hungry, missing = self._hungry_tiers(now)
        if not hungry:
            return
        most = min(max(math.ceil(missing / self._chunk_rows), 1), MOST_CHUNKS_PER_CLAIM)
        leases = await self.database.call(
            lambda c: claim_chunks(
                c, owner=self.owner, tiers=hungry, lease_s=self.lease_s, most=most
            )
        )
        for lease in leases:
            await self._open(lease, now)
        if not leases:
            self._claim_again_at.update(dict.fromkeys(hungry, now + CLAIM_WAIT_S))

    def _hungry_tiers(self, now: float) -> tuple[list[str], int]:
        """Tiers with fewer rows than the next turn will want, and how many more they should have."""
        by_tier: dict[str, list[OpenChunk]] = {}
        for chunk in self._chunks.values():
            by_tier.setdefault(chunk.tier.name, []).append(chunk)
        hungry: list[str] = []
        missing = 0
        for tier in self.tiers:
            if now < self._claim_again_at.get(tier, 0.0):
                continue
            chunks = by_tier.get(tier, [])
            gates = {id(g): g for g in map(self._gate, chunks)}
            wanted = sum(self._wanted(gate) for gate in gates.values()) if gates else 1
            waiting = sum(len(c.todo) for c in chunks if c.wants_more)
            if waiting < wanted:
                hungry.append(tier)
                lasting = CLAIM_AHEAD_TURNS * sum(self._ended_in_turn[g] for g in gates.values())
                missing += wanted + lasting - waiting
        return hungry, missing

    async def _open(self, lease: Lease, claimed_at: float) -> None:
        turn = ChunkTurn.under(lease, turn_no=lease.turn_no)
        try:
            context = await self.database.call(lambda c: self.contexts.get(c, lease.job_id))
            if context is None:
                return
            tasks = await self.database.call(lambda c: load_rows(c, lease))
            purchase = make_purchase(context, lease)
            bound = purchase.bound(tasks, self.providers)
        except Exception as error:
            if not isinstance(error, CascadeError):
                logger.exception(
                    "chunk %s can't be opened", lease.chunk_id, extra={"chunk": lease.chunk_id}
                )
            self._calls.fatal.setdefault(lease.job_id, fault(error))
            turn.state = "ready"
            await self._take([turn])
            return
        tier = context.spec.tiers[lease.tier_no]
        chunk = OpenChunk(
            lease=lease,
            context=context,
            tier=tier,
            purchase=purchase,
            todo=least_tried_first(bound.tasks, context, lease),
            valid_until=claimed_at + self.lease_s,
            renewed_at=claimed_at,
            turn=turn,
            story=self.observer.opened(lease, job=context.name, tier=tier.name, rows=len(tasks)),
        )
        chunk.turn.refusals += bound.refusals
        chunk.skip_hopeless()
        self._chunks[lease.chunk_id] = chunk
        self._chunk_rows = context.spec.chunk_rows

    def _room(self, gate: TierGate, chunks: Iterable[OpenChunk]) -> int:
        """How many more calls should be reserved: what can be sent now, and some ahead."""
        ready = sum(len(c.ready) for c in chunks if self._gate(c) is gate)
        return max(self._wanted(gate) - ready, 0)

    def _wanted(self, gate: TierGate) -> int:
        """How many calls should be reserved that were not sent."""
        capacity = self._calls.capacity(gate)
        if not capacity and not self._calls.are_under_way:
            return 0
        ended = max(self._calls.ended_since_turn[gate], self._ended_in_turn[gate])
        return capacity + max(RESERVE_AHEAD, ended + ended // 2)

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
            giving_back = (chunk.hand_back or chunk.give_up) and bool(chunk.ready or chunk.resting)
            if wants or renew or ending or giving_back or not chunk.turn.is_empty:
                turn = chunk.next_turn(wants)
                turns.append((chunk, turn))
        self._last_turn_at = now
        self._ended_in_turn = self._calls.ended_since_turn
        self._calls.ended_since_turn = Counter()
        if not turns:
            return
        grants = await self._take([turn for _, turn in turns])
        self.observer.turned(loop.time() - now)
        with_less_to_do: set[int] = set()
        for chunk, turn in turns:
            grant = grants.get(turn.chunk_id)
            self._done_calls += turn.calls
            if grant is None or chunk.has_ended:
                del self._chunks[turn.chunk_id]
                chunk.is_lost = True
                if chunk.has_ended:
                    chunk.story.add(turn)
                self.observer.left(chunk.story, _END_OF.get(turn.state, "lost"))
                if turn.state == "done":
                    self._done_chunks += 1
                    with_less_to_do.add(turn.job_id)
                continue
            chunk.story.add(turn)
            chunk.valid_until = now + self.lease_s
            chunk.renewed_at = now
            chunk.accept(turn, grant, now=loop.time(), wait_s=MONEY_WAIT_S)
            if (turn.answers or turn.verdicts) and chunk.context.note is not None:
                await self._note(chunk.context, None)
        await self._tell_due(with_less_to_do)

    async def _take(self, turns: Sequence[ChunkTurn]) -> dict[int, Grant]:
        """Take the turns; where one of them can't be taken, the others still are."""
        try:
            return await self.database.call(
                lambda c: take_turn(c, owner=self.owner, lease_s=self.lease_s, turns=turns)
            )
        except Exception as error:
            if len(turns) == 1:
                chunk_id = turns[0].chunk_id
                logger.exception(
                    "the turn of chunk %s can't be taken", chunk_id, extra={"chunk": chunk_id}
                )
                self._calls.fatal.setdefault(
                    turns[0].job_id, f"What was answered can't be stored: {fault(error)}"
                )
                return {}
        grants: dict[int, Grant] = {}
        for turn in turns:
            grants |= await self._take([turn])
        return grants

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

    async def _tell_due(self, job_ids: Iterable[int]) -> None:
        """A chunk of each of these jobs is done: maybe its planner should be called."""
        now = asyncio.get_running_loop().time()
        for job_id in job_ids:
            holds_more = any(c.lease.job_id == job_id for c in self._chunks.values())
            if holds_more and now < self._due_asked_at.get(job_id, -math.inf) + DUE_ASKED_S:
                continue
            self._due_asked_at[job_id] = now
            due = await self.database.call(partial(due_job, job_id))
            if due is not None:
                # Aside: a broker that hangs must not hold up the turns, and with them the leases.
                notice = asyncio.create_task(self._tell(due))
                self._notices.add(notice)
                notice.add_done_callback(self._notices.discard)

    async def _tell(self, job: str) -> None:
        try:
            await self.on_due(job)
        except Exception:
            logger.warning("nobody was told that %s is to be planned", job, exc_info=True)

    async def _note_outages(self) -> None:
        """Say on the job what it waits for. Its first answer afterwards takes that back."""
        for job_id, note in self._calls.outages.items():
            context = await self.database.call(partial(self.contexts.get, job_id=job_id))
            if context is not None and context.note != note:
                await self._note(context, note)
        self._calls.outages.clear()

    async def _note(self, context: JobContext, note: str | None) -> None:
        await self.database.call(partial(set_note, context.job_id, context.note, note))
        context.note = note

    async def _fail_jobs(self) -> None:
        while self._calls.fatal:
            job_id, reason = next(iter(self._calls.fatal.items()))
            await self.database.call(partial(fail_job, job_id, reason))
            for chunk in self._chunks.values():
                if chunk.lease.job_id == job_id:
                    chunk.stop()
            del self._calls.fatal[job_id]

    async def _wait(self) -> None:
        """Until something ended, but not for less than a turn and not past a renewal."""
        loop = asyncio.get_running_loop()
        chunks = self._chunks.values()
        if self._calls.are_under_way or any(c.wait_until > loop.time() for c in chunks):
            timeout_s = min(CLAIM_WAIT_S, self.lease_s / 4)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._calls.progress.wait(), timeout_s)
        else:
            await asyncio.sleep(0)
        self._calls.progress.clear()
        pause_s = self._last_turn_at + TURN_S - loop.time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
