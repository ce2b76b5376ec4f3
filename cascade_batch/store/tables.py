"""The tables as SQLAlchemy knows them. The migrations make them; a test holds the two together."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

METADATA = sa.MetaData(schema="cascade_store")
_TIME = sa.TIMESTAMP(timezone=True)
_PARTITION = re.compile(r"(row|answer|verdict|choice|decision|follower)_\d+(_.*)?\Z")


def belongs_to_the_models(
    item: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any
) -> bool:
    """Alembic's filter: partitions of a job and other people's schemas are none of the models."""
    if kind == "table":
        return getattr(item, "schema", None) == "cascade_store" and not _PARTITION.match(name or "")
    return True


def _now() -> Any:
    return sa.text("now()")


def _job_fk(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["job_id"],
        ["cascade_store.job.job_id"],
        ondelete="CASCADE",
        name=f"{table}_job_id_fkey",
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _identity(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.Identity(always=True), primary_key=True)


JOB = sa.Table(
    "job",
    METADATA,
    sa.Column("job_id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("reason", sa.Text),
    sa.Column("spec", JSONB, nullable=False),
    sa.Column("rows_total", sa.Integer, nullable=False, server_default="0"),
    sa.Column("rows_failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("rows_unfunded", sa.Integer, nullable=False, server_default="0"),
    sa.Column("waves", sa.Integer, nullable=False, server_default="0"),
    sa.Column("quality", sa.REAL),
    sa.Column("created_at", _TIME, nullable=False, server_default=_now()),
    sa.Column("started_at", _TIME),
    sa.Column("planned_at", _TIME),
    sa.Column("planned_calls", sa.BigInteger),
    sa.Column("plan_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("finished_at", _TIME),
    sa.Column("labels", sa.Text),
    sa.Column("plan_below", sa.Integer, nullable=False, server_default="1"),
    sa.Column("plan_not_before", _TIME),
    sa.Column("plan_generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("frontier", JSONB(none_as_null=True)),
    _count("saved_nanousd"),
    sa.Column("rows_duplicate", sa.Integer, nullable=False, server_default="0"),
    sa.Column("spec_as_written", JSON(none_as_null=True)),
    sa.Column("followed_at", _TIME),
    sa.Column("deleting", sa.Boolean, nullable=False, server_default="false"),
    sa.Column("rows_unfit", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reading", sa.Boolean, nullable=False, server_default="false"),
    sa.UniqueConstraint("name", name="job_name_key"),
)

BALANCE = sa.Table(
    "balance",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("budget_nanousd", sa.BigInteger, nullable=False),
    _count("spent_nanousd"),
    _count("reserved_nanousd"),
    _count("at_risk_nanousd"),
    _count("overrun_nanousd"),
    _count("ring_fence_nanousd"),
    _count("lent_nanousd"),
    _job_fk("balance"),
)

JOB_TIER = sa.Table(
    "job_tier",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stopped", sa.Text),
    _count("calls"),
    _count("answers"),
    _count("first_answers"),
    _count("refused_rows"),
    _count("lost_calls"),
    _count("escalated"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("spent_nanousd"),
    sa.Column("latency_buckets", ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
    _count("verdicts"),
    sa.Column("key_no", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("fingerprint", sa.LargeBinary),
    _count("cached"),
    _job_fk("job_tier"),
)
sa.Index(
    "job_tier_fingerprint_idx",
    JOB_TIER.c.fingerprint,
    postgresql_where=sa.text("fingerprint IS NOT NULL"),
)

ROW = sa.Table(
    "row",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("line_no", sa.Integer, nullable=False),
    sa.Column("custom_id", sa.Text, nullable=False),
    sa.Column("gold", sa.Text),
    sa.Column("worst_nanousd", ARRAY(sa.BigInteger), nullable=False),
    sa.Column("input", JSONB, nullable=False),
    sa.Column("input_bytes", sa.Integer),
    sa.Column("stratum", sa.Integer),
    sa.Column("request_key", sa.LargeBinary),
    postgresql_partition_by="LIST (job_id)",
)

ANSWER = sa.Table(
    "answer",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "sample_no", sa.SmallInteger, primary_key=True, autoincrement=False, server_default="0"
    ),
    sa.Column("passed", sa.Boolean),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("cached_input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("reasoning_tokens", sa.Integer),
    sa.Column("cost_nanousd", sa.BigInteger, nullable=False),
    sa.Column("latency_ms", sa.REAL, nullable=False),
    sa.Column("logprob_mean", sa.REAL),
    sa.Column("logprob_min", sa.REAL),
    sa.Column("logprob_sum", sa.REAL),
    sa.Column("label_logprob", sa.REAL),
    sa.Column("chunk_id", sa.BigInteger, nullable=False),
    sa.Column("answered_at", _TIME, nullable=False, server_default=_now()),
    sa.Column("text", sa.Text),
    sa.Column("value", JSONB),
    sa.Column("error", sa.Text),
    sa.Column("finish_reason", sa.Text),
    sa.Column("signals", JSONB),
    sa.Column("matches_gold", sa.Boolean),
    _count("value_key"),
    sa.Column("saved_nanousd", sa.BigInteger),
    postgresql_partition_by="LIST (job_id)",
)

VERDICT = sa.Table(
    "verdict",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("judge_tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("passed", sa.Boolean),
    sa.Column("probability", sa.REAL),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("cached_input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("reasoning_tokens", sa.Integer),
    sa.Column("cost_nanousd", sa.BigInteger, nullable=False),
    sa.Column("latency_ms", sa.REAL, nullable=False),
    sa.Column("chunk_id", sa.BigInteger, nullable=False),
    sa.Column("judged_at", _TIME, nullable=False, server_default=_now()),
    sa.Column("text", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("finish_reason", sa.Text),
    postgresql_partition_by="LIST (job_id)",
)

CHOICE = sa.Table(
    "choice",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger),
    sa.Column("sample_no", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("quality", sa.REAL),
    sa.Column("error", sa.Text),
    postgresql_partition_by="LIST (job_id)",
)

FOLLOWER = sa.Table(
    "follower",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("leader_no", sa.Integer, nullable=False),
    postgresql_partition_by="LIST (job_id)",
)

WAVE = sa.Table(
    "wave",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("wave", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("planned_at", _TIME, nullable=False, server_default=_now()),
    sa.Column("price_of_money", sa.Double, nullable=False),
    sa.Column("free_nanousd", sa.BigInteger, nullable=False),
    sa.Column("purchases", sa.Integer, nullable=False),
    sa.Column("basis", sa.Text),
    sa.Column("extra", JSONB),
    _job_fk("wave"),
)

DECISION = sa.Table(
    "decision",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("action", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("expected_nanousd", sa.BigInteger, nullable=False),
    sa.Column("gain", sa.REAL, nullable=False),
    sa.Column("draw_probability", sa.REAL, nullable=False),
    sa.Column("reason", sa.SmallInteger, nullable=False),
    postgresql_partition_by="LIST (job_id)",
)

CHUNK = sa.Table(
    "chunk",
    METADATA,
    _identity("chunk_id"),
    sa.Column("job_id", sa.Integer, nullable=False),
    sa.Column("tier_no", sa.SmallInteger, nullable=False),
    sa.Column("tier_name", sa.Text, nullable=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="ready"),
    sa.Column("row_from", sa.Integer, nullable=False),
    sa.Column("row_to", sa.Integer, nullable=False),
    sa.Column("row_nos", ARRAY(sa.Integer)),
    sa.Column("row_count", sa.Integer, nullable=False),
    _count("fence"),
    _count("turn_no"),
    sa.Column("owner", sa.Text),
    sa.Column("lease_expires_at", _TIME),
    sa.Column("not_before", _TIME),
    sa.Column("published_at", _TIME),
    _count("reserved_nanousd"),
    _count("lent_nanousd"),
    sa.Column("in_flight", ARRAY(sa.Integer)),
    sa.Column("action", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("sample_no", sa.SmallInteger, nullable=False, server_default="0"),
    _count("promised_nanousd"),
    sa.Column("fence_parts", ARRAY(sa.BigInteger)),
    sa.Column("judged_tier_no", sa.SmallInteger),
    sa.Column("in_flight_nanousd", ARRAY(sa.BigInteger)),
    _job_fk("chunk"),
)
sa.Index(
    "chunk_open_idx",
    CHUNK.c.job_id,
    CHUNK.c.state,
    CHUNK.c.tier_name,
    CHUNK.c.chunk_id,
    postgresql_where=sa.text("state <> 'done'"),
)
sa.Index("chunk_lease_idx", CHUNK.c.lease_expires_at, postgresql_where=sa.text("state = 'leased'"))
sa.Index("chunk_job_idx", CHUNK.c.job_id, CHUNK.c.tier_no)

ENTRY = sa.Table(
    "entry",
    METADATA,
    _identity("entry_id"),
    sa.Column("job_id", sa.Integer, nullable=False),
    sa.Column("at", _TIME, nullable=False, server_default=_now()),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tier_no", sa.SmallInteger),
    sa.Column("chunk_id", sa.BigInteger),
    sa.Column("fence", sa.BigInteger),
    sa.Column("calls", sa.Integer, nullable=False, server_default="0"),
    _count("budget_nanousd"),
    _count("spent_nanousd"),
    _count("reserved_nanousd"),
    _count("at_risk_nanousd"),
    _count("overrun_nanousd"),
    sa.Column("reason", sa.Text),
    sa.Column("actor", sa.Text),
    _job_fk("entry"),
)
sa.Index("entry_job_idx", ENTRY.c.job_id, ENTRY.c.entry_id)

LOST_CALL = sa.Table(
    "lost_call",
    METADATA,
    _identity("lost_call_id"),
    sa.Column("job_id", sa.Integer, nullable=False),
    sa.Column("row_no", sa.Integer, nullable=False),
    sa.Column("tier_no", sa.SmallInteger, nullable=False),
    sa.Column("chunk_id", sa.BigInteger, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("amount_nanousd", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", _TIME, nullable=False, server_default=_now()),
    sa.Column("released_at", _TIME),
    sa.Column("forgiven", sa.Boolean, nullable=False, server_default="false"),
    _job_fk("lost_call"),
)
sa.Index("lost_call_row_idx", LOST_CALL.c.job_id, LOST_CALL.c.row_no, LOST_CALL.c.tier_no)

REFUSAL = sa.Table(
    "refusal",
    METADATA,
    sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_no", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tier_no", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("at", _TIME, nullable=False, server_default=_now()),
    _job_fk("refusal"),
)

HEARTBEAT = sa.Table(
    "heartbeat",
    METADATA,
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("at", _TIME, nullable=False, server_default=_now()),
    sa.Column("detail", sa.Text),
)
