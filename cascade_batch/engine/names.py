"""Names for jobs whose user gave none."""

from __future__ import annotations

import sqlalchemy as sa

from cascade_batch.store.tables import JOB

_LONGEST_BYTES = 63


def unused_name(connection: sa.Connection, wanted: str) -> str:
    """`wanted`, or with the first of `-2`, `-3`, … that no job has.

    Somebody else may take it before it is used: submitting under it then raises JobExistsError.
    """
    taken = set(
        connection.execute(
            sa.select(JOB.c.name).where(JOB.c.name.startswith(wanted, autoescape=True))
        ).scalars()
    )
    name, suffix = wanted, 1
    while name in taken or len(name.encode()) > _LONGEST_BYTES:
        suffix += 1
        name = f"{wanted}-{suffix}"
    return name
