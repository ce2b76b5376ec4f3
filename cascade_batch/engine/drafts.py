"""Drafts that are bought before the planner has seen the job: one answer a row, where it is cheapest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from cascade_batch.engine.chunks import Work, cut_into_chunks, insert_chunks
from cascade_batch.engine.jobs import Job
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.engine.release import first_answers, write_decisions
from cascade_batch.ledger import read_balance
from cascade_batch.store.tables import JOB

_WAVE = """
INSERT INTO cascade_store.wave (job_id, wave, price_of_money, free_nanousd, purchases, extra)
VALUES (:job, 1, 0, :free, :purchases, '{"while_reading": true}')
    ON CONFLICT (job_id, wave) DO UPDATE SET purchases = wave.purchases + excluded.purchases
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows that ask what no row before them does.

    Attributes:
        row_no: [K] in ascending order.
        tier_no: [K] where a row's worst case is lowest.
        lowest_nanousd: [K] that worst case.
    """

    row_no: NDArray[np.int64]
    tier_no: NDArray[np.intp]
    lowest_nanousd: NDArray[np.int64]

    @classmethod
    def on_lowest(cls, rows: range, worst_nanousd: NDArray[np.int64]) -> Self:
        """All of these rows.

        Args:
            worst_nanousd: [rows, tiers] their worst cases.
        """
        row_no = np.arange(rows.start, rows.stop)
        if not row_no.size:
            return cls(row_no, np.empty(0, np.intp), np.empty(0, np.int64))
        return cls(row_no, worst_nanousd.argmin(axis=1), worst_nanousd.min(axis=1))

    def __len__(self) -> int:
        return len(self.row_no)

    @property
    def total_nanousd(self) -> int:
        """What all of them cost at worst."""
        return int(self.lowest_nanousd.sum())

    def where(self, mask: NDArray[np.bool_]) -> Asked:
        """Some of them."""
        return Asked(self.row_no[mask], self.tier_no[mask], self.lowest_nanousd[mask])


def release_drafts(connection: sa.Connection, job: Job, asked: Asked) -> list[ChunkNotice]:
    """Have rows drafted; all of a job's drafts are one wave. The caller has fenced their money.

    Returns:
        Notices to be published after the commit.
    """
    count = len(asked)
    if not count:
        return []
    wave = first_answers(asked.row_no, asked.tier_no, asked.lowest_nanousd)
    write_decisions(connection, job.job_id, 1, wave)
    work = Work(
        row_no=wave.row_no,
        tier_no=wave.tier_no,
        action=wave.action,
        is_first=np.ones(count, dtype=np.bool_),
        promised_nanousd=np.zeros(count, dtype=np.int64),
        fence_part_nanousd=asked.lowest_nanousd,
        is_usual=np.ones(count, dtype=np.bool_),
    )
    free = read_balance(connection, job.job_id).free_nanousd
    values = {"job": job.job_id, "free": free, "purchases": count}
    connection.execute(sa.text(_WAVE), values)
    connection.execute(sa.update(JOB).where(JOB.c.job_id == job.job_id).values(waves=1))
    return insert_chunks(connection, job.name, cut_into_chunks(job, 1, work))
