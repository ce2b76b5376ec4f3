"""Whatever happens in whatever order: the invariant holds, the audit agrees, and an independent tally
of what providers may have billed never exceeds the budget."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cascade_batch.domain.answer import Answer, Verdict
from cascade_batch.ledger import (
    ChunkTurn,
    Lease,
    Selection,
    add_budget,
    audit_job,
    claim_chunks,
    expire_leases,
    list_write_offs,
    release_write_offs,
    take_turn,
)
from cascade_batch.ledger.lease import Buys
from cascade_batch.ledger.turn import Want
from cascade_batch.store.engine import libpq_url, make_engine
from tests.integration.ledger.ledger_job import answer, make_job, verdict

LEASE_S = 3600.0


@dataclass
class Holder:
    """A worker's view of a chunk, kept by the test, independently of the engine's."""

    owner: str
    lease: Lease
    turn_no: int
    reserved: dict[int, Want] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    dead: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """Workers that claim, reserve, settle, lose, crash, wake up late and repeat themselves."""

    database_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(
            psycopg.AsyncConnection.connect(libpq_url(self.database_url), autocommit=True)
        )
        self.engine = make_engine(self.database_url)
        self.holders: list[Holder] = []
        self.billed = 0
        self.answered: set[int] = set()
        self.held: set[tuple[int, Buys]] = set()
        self.never_billed: list[int] = []
        self.declared_wrong = False
        self.workers = 0

    def teardown(self) -> None:
        # The next example's workers must not find this one's chunks.
        self.loop.run_until_complete(
            self.connection.execute("DELETE FROM cascade_store.job WHERE state = 'running'")
        )
        self.loop.run_until_complete(self.connection.close())
        self.loop.close()
        self.engine.dispose()

    @initialize(
        worst=st.lists(
            st.tuples(st.integers(0, 1000), st.integers(0, 5000)), min_size=1, max_size=12
        ),
        spare=st.integers(0, 8000),
        chunk_rows=st.integers(1, 5),
        drafted=st.booleans(),
    )
    def submit(
        self, worst: list[tuple[int, int]], spare: int, chunk_rows: int, drafted: bool
    ) -> None:
        self.worst = worst
        self.budget = sum(min(w) for w in worst) + spare
        self.job_id = make_job(
            self.database_url,
            worst_nanousd=worst,
            budget_nanousd=self.budget,
            chunk_rows=chunk_rows,
            escalate=True,
            judge=True,
        )
        if drafted:
            self.draft_everything(chunk_rows)

    def draft_everything(self, chunk_rows: int) -> None:
        """All drafts are answered at once, so that escalations and judges have something to go on."""
        for _ in range(0, len(self.worst), chunk_rows):
            self.claim("t0")
            holder = self.holders.pop()
            rows = range(holder.lease.row_from, holder.lease.row_to)
            turn = self.turn(holder)
            turn.wants = [Want(r, self.worst[r][0], min(self.worst[r]), True) for r in rows]
            granted = self.take(holder, turn)
            assert granted is not None
            done = self.turn(holder)
            for want in turn.wants[:granted]:
                cost = want.worst_nanousd // 2
                self.billed += cost
                done.settle(answer(want.row_no, 0, cost), want)
                self.answered.add(want.row_no)
                self.held.add((want.row_no, holder.lease.buys))
            done.state = "done"
            self.take(holder, done)

    def turn(self, holder: Holder) -> ChunkTurn:
        return ChunkTurn.under(holder.lease, turn_no=holder.turn_no)

    def take(self, holder: Holder, turn: ChunkTurn, *, repeat: bool = False) -> int | None:
        """Take the turn (twice, if `repeat`); how many calls were granted, None if the lease is gone."""
        grants = None
        for _ in range(2 if repeat else 1):
            grants = self.loop.run_until_complete(
                take_turn(self.connection, owner=holder.owner, lease_s=LEASE_S, turns=[turn])
            )
        assert grants is not None
        grant = grants.get(turn.chunk_id)
        if grant is None:
            return None
        holder.turn_no += 1
        return grant.granted

    @staticmethod
    def bought(lease: Lease, row_no: int, cost: int) -> Answer | Verdict:
        if lease.judged_tier_no is None:
            return answer(row_no, lease.tier_no, cost)
        return verdict(row_no, lease.judged_tier_no, lease.tier_no, cost)

    @rule(tier=st.sampled_from(["t0", "t1", "judge"]))
    def claim(self, tier: str) -> None:
        self.workers += 1
        owner = f"{self.job_id}-worker-{self.workers}"
        leases = self.loop.run_until_complete(
            claim_chunks(self.connection, owner=owner, tiers=[tier], lease_s=LEASE_S, most=1)
        )
        for lease in leases:
            if lease.job_id == self.job_id:
                assert all(h.dead or h.lease.chunk_id != lease.chunk_id for h in self.holders), (
                    "a chunk was claimed while somebody held it"
                )
                self.holders.append(Holder(owner, lease, lease.turn_no))

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), repeat=st.booleans())
    def reserve(self, data: st.DataObject, repeat: bool) -> None:
        holder = data.draw(st.sampled_from(self.holders))
        turn = self.turn(holder)
        tier = holder.lease.tier_no
        judged = holder.lease.judged_tier_no
        buys = holder.lease.buys
        rows = [
            r
            for r in range(holder.lease.row_from, holder.lease.row_to)
            # As in the engine: who takes a chunk over asks only for what was not bought yet.
            if r not in holder.reserved and r not in holder.settled and (r, buys) not in self.held
        ]
        if judged is not None:
            rows = [r for r in rows if (r, (judged, 0, None)) in self.held]
        elif tier == 1:
            # What the engine does: an escalation chunk holds rows that are answered already.
            rows = [r for r in rows if r in self.answered]
        turn.held = list(holder.reserved.values())
        turn.wants = [
            Want(
                row_no=r,
                # A judge reads the answer as well, so that no row knows what it may cost.
                worst_nanousd=self.worst[r][tier] + (0 if judged is None else 100 + 7 * r),
                lent_nanousd=0 if r in self.answered else min(self.worst[r]),
                is_first=r not in self.answered,
            )
            for r in rows
        ]
        granted = self.take(holder, turn, repeat=repeat)
        if granted is None:
            assert holder.dead
            return
        assert not holder.dead, "a worker without a lease was granted money"
        holder.reserved |= {w.row_no: w for w in turn.wants[:granted]}

    @precondition(lambda self: any(h.reserved for h in self.holders))
    @rule(
        data=st.data(),
        how=st.sampled_from(["settle", "settle", "refuse", "lose", "cut", "release", "overrun"]),
        share=st.floats(0, 1),
        repeat=st.booleans(),
    )
    def end_a_call(self, data: st.DataObject, how: str, share: float, repeat: bool) -> None:
        holder = data.draw(st.sampled_from([h for h in self.holders if h.reserved]))
        row_no = data.draw(st.sampled_from(sorted(holder.reserved)))
        want = holder.reserved[row_no]
        turn = self.turn(holder)
        cost = int(want.worst_nanousd * share)
        if how == "overrun":
            cost = want.worst_nanousd + 1 + int(100 * share)
            self.declared_wrong = True
        # The provider bills whether or not the worker is still believed to live.
        if how in ("settle", "overrun", "lose"):
            self.billed += cost
        if how in ("settle", "overrun"):
            turn.settle(self.bought(holder.lease, row_no, cost), want)
        elif how == "refuse":
            turn.refuse(want, "no")
        elif how in ("lose", "cut"):
            # As far as the worker knows, the same; of the second the provider never heard.
            turn.lose(want, "timeout")
        else:
            turn.release(want)
        turn.held = [w for r, w in holder.reserved.items() if r != row_no]
        granted = self.take(holder, turn, repeat=repeat)
        del holder.reserved[row_no]
        if granted is None:
            assert holder.dead
            # What a provider billed beyond its word, to a worker that was given up, nobody can know.
            self.billed -= max(cost - want.worst_nanousd, 0) if how == "overrun" else 0
            return
        if how == "cut":
            with self.engine.connect() as connection:
                self.never_billed.append(list_write_offs(connection, self.job_id)[-1].call)
        if how in ("settle", "overrun") and holder.lease.judged_tier_no is None:
            self.answered.add(row_no)
        if how in ("settle", "overrun") or (
            how == "refuse" and holder.lease.judged_tier_no is not None
        ):
            self.held.add((row_no, holder.lease.buys))
        if how in ("settle", "overrun", "refuse"):
            holder.settled.add(row_no)

    @precondition(lambda self: any(not h.dead for h in self.holders))
    @rule(data=st.data(), state=st.sampled_from(["ready", "done"]))
    def hand_back(self, data: st.DataObject, state: str) -> None:
        holder = data.draw(st.sampled_from([h for h in self.holders if not h.dead]))
        turn = self.turn(holder)
        for want in holder.reserved.values():
            turn.release(want)
        turn.state = state
        self.take(holder, turn)
        self.holders.remove(holder)

    @precondition(lambda self: any(not h.dead for h in self.holders))
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        """The worker is presumed dead; as a zombie it keeps what it reserved, and may bill it all."""
        holder = data.draw(st.sampled_from([h for h in self.holders if not h.dead]))
        self.loop.run_until_complete(
            self.connection.execute(
                "UPDATE cascade_store.chunk SET lease_expires_at = now() WHERE chunk_id = %s",
                (holder.lease.chunk_id,),
            )
        )
        freed = self.loop.run_until_complete(expire_leases(self.connection))
        assert freed >= 1
        holder.dead = True

    @precondition(lambda self: self.never_billed)
    @rule(data=st.data(), again=st.booleans())
    def the_invoice_arrives(self, data: st.DataObject, again: bool) -> None:
        calls = data.draw(st.lists(st.sampled_from(self.never_billed), min_size=1, unique=True))
        with self.engine.connect() as connection:
            held = {one.call: one for one in list_write_offs(connection, self.job_id)}
        for is_first in (True, False) if again else (True,):
            with self.engine.begin() as connection:
                done, amount, _ = release_write_offs(
                    connection, self.job_id, Selection(calls), actor="Ada", reason="invoice 7"
                )
            expected = [held[c].amount_nanousd for c in calls if c in held] if is_first else []
            assert (done, amount) == (len(expected), sum(expected)), "released once"

    @rule(add=st.integers(1, 3000))
    def raise_budget(self, add: int) -> None:
        with self.engine.begin() as connection:
            add_budget(connection, job_id=self.job_id, add_nanousd=add, actor="test")
        self.budget += add

    @invariant()
    def audit_agrees_and_the_bill_is_covered(self) -> None:
        if not hasattr(self, "job_id"):
            return
        with self.engine.connect() as connection:
            report = audit_job(connection, self.job_id)
        assert report.differences == []
        balance = report.balance
        assert balance.budget_nanousd == self.budget
        in_flight = sum(w.worst_nanousd for h in self.holders for w in h.reserved.values())
        covered = balance.spent_nanousd + balance.at_risk_nanousd + balance.overrun_nanousd
        assert self.billed <= covered
        if not self.declared_wrong:
            assert covered + balance.reserved_nanousd <= self.budget
            # Even if every call that anybody still holds were billed at its worst.
            live = sum(
                w.worst_nanousd for h in self.holders if not h.dead for w in h.reserved.values()
            )
            assert live <= balance.reserved_nanousd
            assert self.billed + in_flight <= self.budget
        unanswered = sum(min(w) for r, w in enumerate(self.worst) if r not in self.answered)
        lent = sum(
            w.lent_nanousd for h in self.holders if not h.dead for r, w in h.reserved.items()
        )
        assert balance.ring_fence_nanousd <= unanswered
        assert balance.ring_fence_nanousd + lent <= sum(min(w) for w in self.worst)


@pytest.mark.timeout(170)
def test_no_interleaving_breaks_the_ledger(fresh_database: str) -> None:
    LedgerMachine.database_url = fresh_database
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=35,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
