"""Publishing after commit. A broker that is away costs time only, so it never fails the caller."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError

from cascade_batch.dispatch.app import CONTROL_QUEUE, PLAN_JOB, RUN_CHUNK, broker_label
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.errors import ServiceUnreachableError

logger = logging.getLogger(__name__)


class CeleryPublisher:
    """Sends the engine's notices as tasks. Implements `cascade_batch.engine.ports.Publisher`."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish_chunks(self, notices: Sequence[ChunkNotice]) -> None:
        """Wake workers of the chunks' tiers."""
        for notice in notices:
            sent = self._send(
                RUN_CHUNK,
                queue=f"tier.{notice.tier}",
                job=notice.job,
                tier=notice.tier,
                chunk=notice.chunk_id,
                rows=notice.rows,
            )
            if not sent:
                return

    def publish_plan(self, job: str) -> None:
        """Ask for the planner."""
        self._send(PLAN_JOB, queue=CONTROL_QUEUE, job=job)

    def _send(self, task: str, *, queue: str, **kwargs: object) -> bool:
        try:
            self._app.send_task(task, kwargs=kwargs, queue=queue, retry=False)
        except (OperationalError, OSError) as error:
            logger.warning("the broker did not take a message (%s)", error)
            return False
        return True


def require_broker(app: Celery) -> None:
    """Make sure that the broker answers.

    Raises:
        ServiceUnreachableError: It does not; names its URL without the password.
    """
    url = app.conf.broker_url
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5, interval_start=0)
            connection.default_channel.client.ping()
    except Exception as error:
        raise ServiceUnreachableError(
            f"The broker at {broker_label(url)} can't be reached: {error}",
            hint="Check CASCADE_REDIS_URL, that the server runs, and `cascade-batch doctor`.",
        ) from error
