"""The tables of messages about jobs: who wants them, and what is still to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from cascade_batch.store.tables import METADATA

_TIME = sa.TIMESTAMP(timezone=True)

NOTIFY_TARGET = sa.Table(
    "notify_target",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("target_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("secret_env", sa.Text),
    sa.Column("states", ARRAY(sa.Text), nullable=False),
    sa.Column("percents", ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("gone", sa.Boolean, nullable=False, server_default="false"),
    sa.ForeignKeyConstraint(
        ["job_id"],
        ["cascade_store.job.job_id"],
        ondelete="CASCADE",
        name="notify_target_job_id_fkey",
    ),
)

NOTIFICATION = sa.Table(
    "notification",
    METADATA,
    sa.Column("notification_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("job_id", sa.Integer, nullable=False),
    sa.Column("target_no", sa.SmallInteger, nullable=False),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("percent", sa.SmallInteger),
    sa.Column("budget_nanousd", sa.BigInteger),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("at", _TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", _TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("delivered_at", _TIME),
    sa.Column("error", sa.Text),
    sa.ForeignKeyConstraint(
        ["job_id", "target_no"],
        ["cascade_store.notify_target.job_id", "cascade_store.notify_target.target_no"],
        ondelete="CASCADE",
        name="notification_target_fkey",
    ),
)
sa.Index("notification_job_idx", NOTIFICATION.c.job_id, NOTIFICATION.c.target_no)
sa.Index(
    "notification_waiting_idx",
    NOTIFICATION.c.next_at,
    postgresql_where=sa.text("state = 'waiting'"),
)
sa.Index(
    "notification_share_idx",
    NOTIFICATION.c.job_id,
    NOTIFICATION.c.target_no,
    NOTIFICATION.c.percent,
    NOTIFICATION.c.budget_nanousd,
    unique=True,
    postgresql_where=sa.text("percent IS NOT NULL"),
)
