"""The ledger: the only writer of money.

**The invariant.** For every job and at all times, `spent + at_risk + reserved <= budget`. A CHECK in
the database holds it; nothing that this package does can commit a state that breaks it. Because a call
is sent only after its worst case is reserved *and committed*, what providers can bill is covered by
the three at every moment, whatever dies in between.

**The life of a dollar.** It begins free. `reserve` sets the worst case of a call aside. The call ends in
one of three ways, and the reservation with it:

- *answered*: the cost becomes `spent`, the rest is free again. If the provider billed more than the
  worst case that was declared for it, the excess is kept apart as `overrun`: settling never fails, no
  answer is lost. The tier is stopped, and what is over shrinks what may be reserved from then on.
- *refused* (a complete 4xx or 5xx): nothing was billed. The reservation serves the retry, or is
  released when the row is given up on this tier.
- *unknown* (timeout, broken connection, a worker that died): the worst case becomes `at_risk`, a
  write-off. A retry needs a new reservation. Money never comes back on a guess; it comes back when
  somebody says, by name and in an entry, that the invoice proves it was not billed.

**The ring fence.** While a row is unanswered, its part is fenced off: the lowest worst case among the tiers
that it may still be asked on. Only what lies outside the fence may be reserved for anything else. A call
for an unanswered row lends itself its own part of the fence (`lent`); on a dearer tier it takes the rest
from what lies outside. When it ends without an answer, the part goes back. So what the fence holds and what
calls have lent themselves is, at all times, the sum of the unanswered rows' parts. And because any call may
be lost, and its money with it, what is lent counts twice: whatever wants more than its own part of the fence
has to leave free both what is fenced and what is lent. So every call for a first answer that is in flight may
be lost, all at once, and there is money to ask each of these rows again, wherever there was any beyond the
fence at all. A row's part is fixed while a chunk that asks for it is open; between chunks the planner may
move it, and the fence with it.

**Turns.** Per call, a worker would settle and reserve twice; per turn, it does so once for some hundred
calls of some chunks, in one statement, which also stores the answers: an answer and its price land
together or not at all. A turn is valid under the chunk's fence only. A worker that was away (stopped,
cut off, presumed dead) finds the fence raised and writes nothing; what it had in flight was written off
when its lease ran out, so its late answers are covered, though lost. And a turn is carried out once:
it carries the chunk's `turn_no`, so that a worker that lost its connection while waiting for the
answer may simply send it again.

**Entries** are append-only, and their sums are the balances: `audit` adds them up again.

Locks are taken in one order everywhere: chunks by id, then balances by job id, then tiers. Who changes a
job itself (the planner, a command) locks its row before all of them, and lets others refer to it: every
entry does.
"""

from cascade_batch.ledger.account import (
    Balance,
    add_budget,
    clear_ring_fence,
    move_ring_fence,
    open_account,
    read_balance,
)
from cascade_batch.ledger.audit import AuditReport, audit_job
from cascade_batch.ledger.lease import EXPIRE_LEASES, Lease, claim_chunks, expire_leases
from cascade_batch.ledger.turn import ChunkTurn, Grant, take_turn
from cascade_batch.ledger.write_offs import (
    LostMoney,
    Selection,
    WriteOff,
    list_write_offs,
    release_write_offs,
    sum_write_offs,
)

__all__ = [
    "EXPIRE_LEASES",
    "AuditReport",
    "Balance",
    "ChunkTurn",
    "Grant",
    "Lease",
    "LostMoney",
    "Selection",
    "WriteOff",
    "add_budget",
    "audit_job",
    "claim_chunks",
    "clear_ring_fence",
    "expire_leases",
    "list_write_offs",
    "move_ring_fence",
    "open_account",
    "read_balance",
    "release_write_offs",
    "sum_write_offs",
    "take_turn",
]
