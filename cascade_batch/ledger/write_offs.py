"""Write-offs: calls that nobody knows the end of, held at worst case, and how they come back.

A provider may have billed such a call, so its money stays `at_risk`, and no guess of ours gives it back. The
provider's invoice knows: who has read it may say which calls are not on it, and put their name to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cascade_batch.errors import UsageError
from cascade_batch.ledger.account import Balance, read_balance
from cascade_batch.store.tables import BALANCE, ENTRY, JOB_TIER, LOST_CALL

_ROW = sa.table(
    "row", sa.column("job_id"), sa.column("row_no"), sa.column("custom_id"), schema="cascade_store"
)


@dataclass(frozen=True, slots=True)
class WriteOff:
    """A call whose end is unknown.

    Attributes:
        call: Its number.
        row_no: The row that was asked about.
        custom_id: The row's id.
        tier: The tier that was asked.
        amount_nanousd: Its worst case, which is what is held.
        reason: Why nobody knows, in words.
        at: When it was given up.
    """

    call: int
    row_no: int
    custom_id: str
    tier: str
    amount_nanousd: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """Which write-offs; what is empty selects nothing out.

    Attributes:
        calls: These numbers only.
        tiers: These tiers only.
        since: Given up at or after this time.
        until: Given up before this time.
    """

    calls: Sequence[int] = ()
    tiers: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def of(self, job_id: int) -> sa.ColumnElement[bool]:
        """The condition on a job's lost calls."""
        wanted = [LOST_CALL.c.job_id == job_id, LOST_CALL.c.released_at.is_(None)]
        if self.calls:
            wanted.append(LOST_CALL.c.lost_call_id.in_(self.calls))
        if self.tiers:
            numbers = sa.select(JOB_TIER.c.tier_no).where(
                JOB_TIER.c.job_id == job_id, JOB_TIER.c.name.in_(self.tiers)
            )
            wanted.append(LOST_CALL.c.tier_no.in_(numbers))
        if self.since is not None:
            wanted.append(LOST_CALL.c.at >= self.since)
        if self.until is not None:
            wanted.append(LOST_CALL.c.at < self.until)
        return sa.and_(*wanted)


@dataclass(frozen=True, slots=True)
class LostMoney:
    """Write-offs of one tier for one reason."""

    tier: str
    reason: str
    calls: int
    amount_nanousd: int


def sum_write_offs(connection: sa.Connection, job_id: int) -> list[LostMoney]:
    """What is at risk, by tier and reason, the most money first."""
    amount = sa.cast(sa.func.sum(LOST_CALL.c.amount_nanousd), sa.BigInteger)
    query = (
        sa.select(JOB_TIER.c.name, LOST_CALL.c.reason, sa.func.count(), amount)
        .join(
            JOB_TIER,
            sa.and_(
                JOB_TIER.c.job_id == LOST_CALL.c.job_id, JOB_TIER.c.tier_no == LOST_CALL.c.tier_no
            ),
        )
        .where(Selection().of(job_id))
        .group_by(JOB_TIER.c.name, LOST_CALL.c.reason)
        .order_by(amount.desc(), JOB_TIER.c.name, LOST_CALL.c.reason)
    )
    return [LostMoney(*row) for row in connection.execute(query)]


def list_write_offs(
    connection: sa.Connection, job_id: int, selection: Selection | None = None
) -> list[WriteOff]:
    """The job's write-offs that still hold money, oldest first.

    Raises:
        UsageError: The selection names a tier or a call that the job has not.
    """
    selection = selection or Selection()
    _check(connection, job_id, selection)
    query = (
        sa.select(
            LOST_CALL.c.lost_call_id,
            LOST_CALL.c.row_no,
            _ROW.c.custom_id,
            JOB_TIER.c.name,
            LOST_CALL.c.amount_nanousd,
            LOST_CALL.c.reason,
            LOST_CALL.c.at,
        )
        .join(
            JOB_TIER,
            sa.and_(
                JOB_TIER.c.job_id == LOST_CALL.c.job_id, JOB_TIER.c.tier_no == LOST_CALL.c.tier_no
            ),
        )
        .join(
            _ROW, sa.and_(_ROW.c.job_id == LOST_CALL.c.job_id, _ROW.c.row_no == LOST_CALL.c.row_no)
        )
        .where(selection.of(job_id))
        .order_by(LOST_CALL.c.lost_call_id)
    )
    return [WriteOff(*row) for row in connection.execute(query)]


def release_write_offs(
    connection: sa.Connection, job_id: int, selection: Selection, *, actor: str, reason: str
) -> tuple[int, int, Balance]:
    """Give back the money of these write-offs, because an invoice proves that they were not billed.

    One entry a tier keeps who said so and why. A write-off is released once, however often this is called.

    Returns:
        How many were released, their nano-dollars, and the balance after it.

    Raises:
        UsageError: No name or no reason is given, or the selection names what the job has not.
    """
    if not actor.strip() or not reason.strip():
        raise UsageError(
            "A release needs a name and a reason.",
            hint='Say who and why: --by "Ada" --because "invoice 2026-11".',
        )
    read_balance(connection, job_id, lock=True)
    _check(connection, job_id, selection)
    released = (
        sa.update(LOST_CALL)
        .where(selection.of(job_id))
        .values(released_at=sa.func.now())
        .returning(LOST_CALL.c.tier_no, LOST_CALL.c.amount_nanousd)
        .cte("released")
    )
    by_tier = connection.execute(
        sa.select(
            released.c.tier_no,
            sa.func.count(),
            sa.cast(sa.func.sum(released.c.amount_nanousd), sa.BigInteger),
        )
        .group_by(released.c.tier_no)
        .order_by(released.c.tier_no)
    ).all()
    total = sum(amount for _, _, amount in by_tier)
    if by_tier:
        connection.execute(
            sa.update(BALANCE)
            .where(BALANCE.c.job_id == job_id)
            .values(at_risk_nanousd=BALANCE.c.at_risk_nanousd - total)
        )
        entries: list[dict[str, Any]] = [
            {
                "job_id": job_id,
                "kind": "reconcile",
                "tier_no": tier_no,
                "calls": calls,
                "at_risk_nanousd": -amount,
                "reason": reason,
                "actor": actor,
            }
            for tier_no, calls, amount in by_tier
        ]
        connection.execute(sa.insert(ENTRY), entries)
    return sum(calls for _, calls, _ in by_tier), total, read_balance(connection, job_id)


def _check(connection: sa.Connection, job_id: int, selection: Selection) -> None:
    names = (
        connection.execute(
            sa.select(JOB_TIER.c.name)
            .where(JOB_TIER.c.job_id == job_id)
            .order_by(JOB_TIER.c.tier_no)
        )
        .scalars()
        .all()
    )
    unknown = [tier for tier in selection.tiers if tier not in names]
    if unknown:
        raise UsageError(
            f"The job has no tier {unknown[0]!r}.", hint=f"Its tiers: {', '.join(names)}."
        )
    if selection.calls:
        found = connection.execute(
            sa.select(LOST_CALL.c.lost_call_id).where(
                LOST_CALL.c.job_id == job_id, LOST_CALL.c.lost_call_id.in_(selection.calls)
            )
        ).scalars()
        missing = sorted(set(selection.calls) - set(found))
        if missing:
            raise UsageError(
                f"The job has written off no call {missing[0]}.",
                hint="cascade-batch reconcile JOB lists those that it has.",
            )
