"""A job's account: opened with the budget, raised by the user, read by everybody."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cascade_batch.domain.money import MAX_BUDGET_NANOUSD, format_usd
from cascade_batch.errors import UsageError
from cascade_batch.store.tables import BALANCE, ENTRY


@dataclass(frozen=True, slots=True)
class Balance:
    """A job's money, in nano-dollars."""

    budget_nanousd: int
    spent_nanousd: int
    reserved_nanousd: int
    at_risk_nanousd: int
    overrun_nanousd: int
    ring_fence_nanousd: int
    lent_nanousd: int

    @property
    def free_nanousd(self) -> int:
        """What is neither spent, at risk, reserved nor overrun; unanswered rows' part included."""
        return (
            self.budget_nanousd
            - self.spent_nanousd
            - self.at_risk_nanousd
            - self.reserved_nanousd
            - self.overrun_nanousd
        )

    @property
    def free_for_escalation_nanousd(self) -> int:
        """What may be reserved for rows that are answered already. First answers that are in flight may be
        lost: what they took out of the fence is kept free as well, to ask their rows again."""
        return max(self.free_nanousd - self.ring_fence_nanousd - self.lent_nanousd, 0)


def open_account(
    connection: sa.Connection, *, job_id: int, budget_nanousd: int, ring_fence_nanousd: int
) -> None:
    """Open the account of a new job, with its rows' part fenced off."""
    connection.execute(
        sa.insert(BALANCE).values(
            job_id=job_id, budget_nanousd=budget_nanousd, ring_fence_nanousd=ring_fence_nanousd
        )
    )
    connection.execute(
        sa.insert(ENTRY).values(
            job_id=job_id, kind="budget", budget_nanousd=budget_nanousd, reason="submitted"
        )
    )


def read_balance(connection: sa.Connection, job_id: int, *, lock: bool = False) -> Balance:
    """The account as it is now; `lock` keeps it so until the transaction ends."""
    query = sa.select(*[BALANCE.c[name] for name in Balance.__dataclass_fields__]).where(
        BALANCE.c.job_id == job_id
    )
    row = connection.execute(query.with_for_update() if lock else query).one()
    return Balance(*row)


def add_budget(
    connection: sa.Connection, *, job_id: int, add_nanousd: int, actor: str | None
) -> Balance:
    """Raise the budget.

    Raises:
        UsageError: Nothing is added, or more than an account can hold.
    """
    if add_nanousd <= 0:
        raise UsageError("Only a positive amount can be added to a budget.")
    before = read_balance(connection, job_id, lock=True)
    if before.budget_nanousd + add_nanousd > MAX_BUDGET_NANOUSD:
        raise UsageError(f"A budget can't be more than {format_usd(MAX_BUDGET_NANOUSD)}.")
    connection.execute(
        sa.update(BALANCE)
        .where(BALANCE.c.job_id == job_id)
        .values(budget_nanousd=BALANCE.c.budget_nanousd + add_nanousd)
    )
    connection.execute(
        sa.insert(ENTRY).values(
            job_id=job_id, kind="budget", budget_nanousd=add_nanousd, reason="added", actor=actor
        )
    )
    return read_balance(connection, job_id)


def clear_ring_fence(connection: sa.Connection, job_id: int) -> None:
    """Fence nothing off any more. Only for the planner, when no chunk of the job is open and none will be."""
    connection.execute(
        sa.update(BALANCE).where(BALANCE.c.job_id == job_id).values(ring_fence_nanousd=0)
    )


def move_ring_fence(connection: sa.Connection, job_id: int, by_nanousd: int) -> None:
    """Enlarge or reduce the fence, as rows that nobody works on need more or less than is held for them. Only
    for the planner."""
    if by_nanousd:
        connection.execute(
            sa.update(BALANCE)
            .where(BALANCE.c.job_id == job_id)
            .values(
                ring_fence_nanousd=sa.func.greatest(BALANCE.c.ring_fence_nanousd + by_nanousd, 0)
            )
        )
