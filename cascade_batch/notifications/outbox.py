"""The outbox: who is to be told, what is still to be sent, and what became of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cascade_batch.domain.notify import NotifyTarget
from cascade_batch.notifications.message import TIMEOUT_S, Message, Outcome
from cascade_batch.store.notification_tables import NOTIFICATION, NOTIFY_TARGET

RETRY_AFTER_S = (5, 60, 300, 1800, 7200, 18_000, 36_000, 36_000)
"""Waits between tries; after the last of them, and about 28 hours, a message is given up."""
_JITTER = 0.2
_HELD_S = 3 * TIMEOUT_S
"""Whoever took messages and was killed before it could say what became of them keeps them for so long."""

_SHARES = """
SELECT coalesce(sum(cascade_store.note_shares(j)), 0)::integer FROM cascade_store.job j
 WHERE EXISTS (SELECT 1 FROM cascade_store.notify_target t
                WHERE t.job_id = j.job_id AND NOT t.gone AND cardinality(t.percents) > 0)
   AND (j.finished_at IS NULL OR j.finished_at > clock_timestamp() - interval '10 min')
"""
_CLAIM = """
UPDATE cascade_store.notification n
   SET tries = n.tries + 1, next_at = clock_timestamp() + make_interval(secs => :held_s)
  FROM cascade_store.notify_target t
 WHERE (t.job_id, t.target_no) = (n.job_id, n.target_no) AND n.notification_id IN (
       SELECT x.notification_id FROM cascade_store.notification x
        WHERE x.state = 'waiting' AND x.next_at <= clock_timestamp()
        ORDER BY x.next_at, x.notification_id LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING n.notification_id, n.webhook_id, n.job_id, n.target_no, n.event, n.tries, n.body, t.url, t.shown,
          t.secret_env
"""
_SUMMARY = """
SELECT t.shown AS target,
       count(*) FILTER (WHERE n.state = 'delivered') AS delivered,
       count(*) FILTER (WHERE n.state = 'waiting') AS waiting,
       count(*) FILTER (WHERE n.state = 'given_up') AS given_up,
       (array_agg(n.error ORDER BY n.notification_id DESC)
            FILTER (WHERE n.state <> 'delivered' AND n.error IS NOT NULL))[1] AS error
  FROM cascade_store.notify_target t
  LEFT JOIN cascade_store.notification n USING (job_id, target_no)
 WHERE t.job_id = :job
 GROUP BY t.target_no, t.shown ORDER BY t.target_no
"""


def store_targets(connection: sa.Connection, job_id: int, targets: Sequence[NotifyTarget]) -> None:
    """Store who wants to hear of a job, in the transaction that stores the job."""
    if targets:
        connection.execute(
            sa.insert(NOTIFY_TARGET),
            [
                {
                    "job_id": job_id,
                    "target_no": no,
                    "url": target.url,
                    "shown": target.shown,
                    "secret_env": target.secret_env,
                    "states": target.states,
                    "percents": target.percents,
                }
                for no, target in enumerate(targets)
            ],
        )


def read_variables(connection: sa.Connection, job_id: int) -> list[str]:
    """Names of the environment variables that a job's messages need to be sent."""
    rows = connection.execute(
        sa.select(NOTIFY_TARGET.c.url, NOTIFY_TARGET.c.secret_env).where(
            NOTIFY_TARGET.c.job_id == job_id
        )
    )
    return [name for row in rows for name in NotifyTarget(url=row[0], secret_env=row[1]).variables]


def note_shares(connection: sa.Connection) -> int:
    """Look which jobs have used a share of their budgets that is to be told of.

    Returns:
        How many messages are new.
    """
    return int(connection.execute(sa.text(_SHARES)).scalar_one())


def outbox_of(connection: sa.Connection, job_id: int) -> list[dict[str, Any]]:
    """What became of a job's messages, a target each: its address as it may be shown; how many were
    `delivered`, are `waiting` and were `given_up`; and the last `error` of those that were not delivered."""
    rows = connection.execute(sa.text(_SUMMARY), {"job": job_id}).mappings()
    return [dict(row) for row in rows]


def claim_due(connection: sa.Connection, most: int) -> list[tuple[sa.RowMapping, Message]]:
    """Take messages that are to be sent now; nobody else gets them for a while."""
    rows = connection.execute(sa.text(_CLAIM), {"held_s": _HELD_S, "most": most}).mappings()
    return [
        (row, Message(row["webhook_id"], row["url"], row["secret_env"], row["body"]))
        for row in rows
    ]


def note_outcome(connection: sa.Connection, row: sa.RowMapping, outcome: Outcome) -> bool:
    """Note what became of a try.

    Returns:
        Whether the message is given up.
    """
    mine = NOTIFICATION.c.notification_id == row["notification_id"]
    now = sa.func.clock_timestamp()
    if outcome.error is None:
        values: dict[str, Any] = {"state": "delivered", "delivered_at": now, "error": None}
    elif outcome.is_gone or row["tries"] > len(RETRY_AFTER_S):
        values = {"state": "given_up", "error": outcome.error}
    else:
        wait_s = RETRY_AFTER_S[row["tries"] - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311
        wait_s = max(wait_s, outcome.retry_after_s)
        values = {"next_at": now + sa.func.make_interval(0, 0, 0, 0, 0, 0, wait_s)}
        values["error"] = outcome.error
    connection.execute(
        sa.update(NOTIFICATION).where(mine, NOTIFICATION.c.state == "waiting").values(values)
    )
    if outcome.is_gone:
        _part_with(connection, row, outcome)
    return values.get("state") == "given_up"


def _part_with(connection: sa.Connection, row: sa.RowMapping, outcome: Outcome) -> None:
    """The receiver wants no more: nothing else is sent to it for this job."""
    for table, values in (
        (NOTIFY_TARGET, {"gone": True}),
        (NOTIFICATION, {"state": "given_up", "error": outcome.error}),
    ):
        update = sa.update(table).where(
            table.c.job_id == row["job_id"], table.c.target_no == row["target_no"]
        )
        if table is NOTIFICATION:
            update = update.where(NOTIFICATION.c.state == "waiting")
        connection.execute(update.values(values))
