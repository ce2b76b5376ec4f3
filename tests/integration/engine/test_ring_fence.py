"""The ring fence under planners at any moment, rows that start on any tier, escalations that want all the
money, refusals, lost calls, tiers that stop, and workers that die: to the nano-dollar, after every step."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import numpy as np
import psycopg
import pytest

from cascade_batch.engine import control
from cascade_batch.engine.chunk_rows import RowTask, load_rows
from cascade_batch.ledger import ChunkTurn, Lease, claim_chunks, expire_leases, take_turn
from cascade_batch.policy.view import JobView, Wave
from cascade_batch.store.engine import libpq_url
from tests.integration.engine.bench import Bench
from tests.integration.engine.scripted_planner import NOTHING, Script, wave_of
from tests.integration.ledger.ledger_job import answer

ROWS, TIERS = 24, 3
STEPS = 90


@dataclass
class Hand:
    """A worker's chunk: what it may still ask for, and what it has reserved."""

    lease: Lease
    owner: str
    turn_no: int
    todo: list[RowTask]
    reserved: list[RowTask] = field(default_factory=list)


class Play:
    """A job that many hands work on at random, and a model of what the fence has to hold."""

    def __init__(self, bench: Bench, connection: psycopg.AsyncConnection, seed: int) -> None:
        self.bench, self.connection, self.draw = bench, connection, random.Random(seed)
        names = [f"t{seed}x{n}" for n in range(TIERS)]
        # Which tier is the cheapest differs from row to row: prices per token and per call.
        prices = [{"input": "3", "output": "0"}, {"call": "0.0003"}, {"call": "0.002"}]
        nobody = {"base_url": "http://127.0.0.1:1/v1", "overhead_tokens": 0}
        self.tiers = [
            bench.tier(None, name, **nobody, price=price)
            for name, price in zip(names, prices, strict=True)
        ]
        texts = [{"text": "x" * self.draw.randrange(1, 300)} for _ in range(ROWS)]
        probe = bench.submit(self.tiers, texts)
        control.cancel_job(bench.engine, probe)
        self.worst = np.array(
            [w for (w,) in bench.all("SELECT worst_nanousd FROM cascade_store.row WHERE job_id = :j"
                                     " ORDER BY row_no", j=bench.job_id(probe))]
        )  # fmt: skip
        self.spare = self.draw.randrange(12_000_000)
        self.budget = int(self.worst.min(axis=1).sum()) + self.spare
        self.part = self.worst.min(axis=1).copy()
        self.answered: set[int] = set()
        self.hands: list[Hand] = []
        self.planner = Script(*[self.plan] * STEPS * 3)
        self.job = bench.submit(
            self.tiers, texts, chunk_rows=4, budget_nanousd=self.budget, planner=self.planner
        )
        self.job_id = bench.job_id(self.job)

    def plan(self, view: JobView) -> Wave:
        """Any first answers, on any tier, and any escalations."""
        pairs = []
        for row in range(ROWS):
            # The fence's part of a row that nobody works on is the planner's to set.
            if not view.in_flight[row].any() and row not in self.answered:
                open_ = np.where(view.barred[row], np.iinfo(np.int64).max, self.worst[row])
                self.part[row] = 0 if view.barred[row].all() else open_.min()
            is_free = ~view.barred[row] & ~view.in_flight[row]
            may = np.flatnonzero(is_free & (view.held[row].any() | ~view.in_flight[row].any()))
            if may.size and self.draw.random() < 0.6:
                pairs.append((row, int(self.draw.choice(may))))
        self.draw.shuffle(pairs)
        shown = self.part.copy()
        shown[[*self.answered, *(t.row_no for h in self.hands for t in h.reserved)]] = 0
        assert view.fence_nanousd.tolist() == shown.tolist()
        return wave_of(pairs, expected_nanousd=self.draw.randrange(300_000)) if pairs else NOTHING

    async def step(self) -> None:
        acts = [self.claim, self.claim, self.ask, self.ask, self.ask, self.end, self.end, self.end]
        acts += [self.hand_back, self.planning, self.planning, self.die, self.stop_a_tier]
        await self.draw.choice(acts)()
        self.check()

    async def claim(self) -> None:
        owner = f"{self.job} {self.draw.random()}"
        leases = await claim_chunks(
            self.connection, owner=owner, tiers=[t.name for t in self.tiers], lease_s=3600, most=1
        )
        for lease in leases:
            tasks = list(await load_rows(self.connection, lease))
            self.hands.append(Hand(lease, owner, lease.turn_no, tasks))

    def next_turn(self, hand: Hand) -> ChunkTurn:
        turn = ChunkTurn.under(hand.lease, turn_no=hand.turn_no)
        turn.held = [task.want for task in hand.reserved]
        return turn

    async def take(self, hand: Hand, turn: ChunkTurn) -> int:
        grants = await take_turn(self.connection, owner=hand.owner, lease_s=3600, turns=[turn])
        hand.turn_no += 1
        return grants[hand.lease.chunk_id].granted

    async def ask(self) -> None:
        if hands := [hand for hand in self.hands if hand.todo]:
            hand = self.draw.choice(hands)
            turn = self.next_turn(hand)
            turn.wants = [task.want for task in hand.todo[: self.draw.randrange(1, 5)]]
            granted = await self.take(hand, turn)
            hand.reserved += hand.todo[:granted]
            del hand.todo[:granted]

    async def end(self) -> None:
        if hands := [hand for hand in self.hands if hand.reserved]:
            hand = self.draw.choice(hands)
            task = hand.reserved.pop(self.draw.randrange(len(hand.reserved)))
            turn = self.next_turn(hand)
            how = self.draw.choice(["settle"] * 5 + ["refuse", "lose"])
            if how == "settle":
                cost = self.draw.randrange(task.want.worst_nanousd + 1)
                turn.settle(answer(task.row_no, hand.lease.tier_no, cost), task.want)
                self.answered.add(task.row_no)
                self.part[task.row_no] = 0
            elif how == "refuse":
                turn.refuse(task.want, "no")
            else:
                turn.lose(task.want, "timeout")
                hand.todo.append(task)
            await self.take(hand, turn)

    async def hand_back(self, state: str | None = None) -> None:
        if self.hands:
            hand = self.hands.pop(self.draw.randrange(len(self.hands)))
            turn = self.next_turn(hand)
            turn.held = []
            for task in hand.reserved:
                turn.release(task.want)
            turn.state = state or self.draw.choice(["ready", "done"])
            await self.take(hand, turn)

    async def die(self) -> None:
        """The worker is gone; what it had reserved is at risk."""
        if self.hands and self.draw.random() < 0.5:
            hand = self.hands.pop(self.draw.randrange(len(self.hands)))
            await self.connection.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE chunk_id = %s",
                (hand.lease.chunk_id,),
            )
            assert await expire_leases(self.connection) == 1

    async def stop_a_tier(self) -> None:
        if self.draw.random() < 0.1:
            self.bench.execute(
                "UPDATE cascade_store.job_tier SET stopped = CASE WHEN stopped IS NULL THEN 'dear' END"
                " WHERE job_id = :j AND tier_no = :t",
                j=self.job_id,
                t=self.draw.randrange(TIERS),
            )

    async def planning(self) -> None:
        self.bench.execute(
            "UPDATE cascade_store.job SET plan_below = 99, plan_not_before = NULL,"
            " planned_calls = NULL WHERE job_id = :j",
            j=self.job_id,
        )
        if self.bench.state(self.job) == "finished":
            control.resume_job(self.bench.engine, self.job, self.bench.messages)
        await asyncio.to_thread(self.bench.plan, self.job, self.planner)

    def check(self) -> None:
        status = self.bench.status(self.job)
        lent = sum(task.want.lent_nanousd for hand in self.hands for task in hand.reserved)
        if status["status"] != "finished":
            assert status["ring_fence_nanousd"] + lent == self.part.sum()
        spent = status["spent_nanousd"] + status["at_risk_nanousd"] + status["reserved_nanousd"]
        assert spent <= self.budget
        # Nothing but write-offs, and rows whose cheapest tier is gone, can make the fence too dear.
        raised = max(int((self.part - self.worst.min(axis=1)).clip(0).sum()), 0)
        free = self.budget - spent
        assert free + status["at_risk_nanousd"] + raised >= status["ring_fence_nanousd"]


@pytest.mark.parametrize("seed", range(8))
async def test_the_fence_holds_what_unanswered_rows_need(bench: Bench, seed: int):
    url = libpq_url(bench.database_url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        play = Play(bench, connection, seed)
        play.check()
        for _ in range(STEPS):
            await play.step()
        while play.hands:
            await play.hand_back("done")
            play.check()
    assert play.answered
    assert bench.audit(play.job).differences == []
