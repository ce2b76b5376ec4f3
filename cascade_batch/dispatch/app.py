"""The Celery application and its settings, each with its reason."""

from __future__ import annotations

from celery import Celery

from cascade_batch.store.engine import hide_password

CONTROL_QUEUE = "control"
RUN_CHUNK = "cascade.run_chunk"
PLAN_JOB = "cascade.plan_job"

SLICE_S = 300.0
"""How long one task drives its tiers before it makes room for others."""
_VISIBILITY_TIMEOUT_S = 3600
"""After this, Redis hands an unacknowledged message to somebody else: well above a slice plus the
longest call, as doing it earlier would only wake two workers for the same chunk."""


def make_app(redis_url: str) -> Celery:
    """An application on this broker, with the tasks registered."""
    app = Celery(
        "cascade-batch",
        broker=redis_url,
        include=["cascade_batch.dispatch.tasks"],
        # Celery's own is for Django, and loads all of a worker to find that this is none.
        fixups=[],
    )
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        event_serializer="json",
        # A worker that dies leaves its message to the next one. The sweeper would notice as well,
        # only later.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # A message held back by a busy worker is one that an idle one can't see.
        worker_prefetch_multiplier=1,
        # Results are rows in Postgres; nobody reads Celery's.
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # After a warm shutdown was asked for twice: this long to settle what is in flight.
        worker_soft_shutdown_timeout=20.0,
        # The chunk's lease, not the broker's connection, says whether a task may go on.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 10,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        task_default_queue=CONTROL_QUEUE,
        # Flower shows what these say.
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_track_started=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,
        enable_utc=True,
    )
    app.steps["worker"].add("cascade_batch.dispatch.watchdog:Watchdog")
    return app


def broker_label(redis_url: str) -> str:
    """The broker's URL without its password."""
    return hide_password(redis_url)
