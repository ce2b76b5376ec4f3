"""The watchdog: a worker that has lost its broker for good ends, so that its supervisor starts it again.

Celery's consumer comes back from most losses by itself, and is given time for it. From some it does not:
it waits for an answer that was lost, or runs its loop on a connection that it no longer reads. Such a
worker looks well to everybody who asks only whether its process lives, and takes no message ever again.

A thread of the main process therefore asks the broker itself, over a connection of its own, and looks
whether the consumer has asked for messages lately (or need not: a worker whose children are all at work
has no room for any):

* the broker answers, but the consumer has not asked it for `consumer_silent_s`: it will not come back;
* the broker has not answered for `broker_away_s`: whatever is wrong, a new process begins with a fresh
  look at addresses, certificates and sockets.

Both end the worker alike. Its children stop as they do in a shutdown: they send no more calls, settle
those in flight (they need only the database for that), and hand their chunks back. Then, or after
`DRAIN_S`, they are killed and the main process exits with `EXIT_CODE`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

import psutil
from celery import bootsteps
from celery.concurrency.prefork import TaskPool
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cascade_batch.dispatch.app import broker_label
from cascade_batch.dispatch.at_work import is_any_child_at_work
from cascade_batch.dispatch.runtime import begin_shutdown, is_stopping
from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.settings import settings

logger = logging.getLogger(__name__)

EXIT_CODE = ServiceUnreachableError.exit_code
DRAIN_S = 60.0
"""How long calls in flight may take to settle: a call's usual timeout. Those that take longer are
written off, like those of any worker that dies."""
LOG_S = 10.0
"""A log that nobody reads blocks whoever writes to it: so much later, the end comes without a word."""
CHECK_S = 5.0
PING_TIMEOUT_S = 5.0
PULSE_S = 1.0
POLL_LATE_S = 10.0
"""A consumer with room for messages asks for them about once a second."""
STALL_S = 60.0
"""Longer than any check takes: between two that lie further apart, the whole process stood still."""


class Vigil:
    """How long broker and consumer have been silent, and whether that is too long. Pure.

    Only time between two looks counts, and none of it if they lie too far apart: a process that was
    suspended has seen nothing, and its consumer is as late as itself.
    """

    def __init__(self, *, broker_away_s: float, consumer_silent_s: float, now: float) -> None:
        self._broker_away_s = broker_away_s
        self._consumer_silent_s = consumer_silent_s
        self._looked_at = now
        self._away_s = 0.0
        self._silent_s = 0.0

    def look(self, now: float, *, fault: str | None, heard_at: float) -> str | None:
        """Note what is seen now.

        Args:
            now: Seconds on a clock that only goes forward.
            fault: Why the broker did not answer; None: it did.
            heard_at: When the consumer last showed that it consumes, on the same clock.

        Returns:
            Why the worker must end, if it must.
        """
        before, self._looked_at = self._looked_at, now
        passed_s = now - before if now - before < STALL_S else 0.0
        self._away_s = 0.0 if fault is None else self._away_s + passed_s
        # A broker that just came back finds a consumer that has all its time to find it.
        is_well = heard_at >= before or fault is not None
        self._silent_s = 0.0 if is_well else self._silent_s + passed_s
        if self._away_s >= self._broker_away_s:
            return f"it has not answered for {self._away_s:.0f} s ({fault})"
        if self._silent_s >= self._consumer_silent_s:
            return f"it answers, but this worker has not asked it for messages for {self._silent_s:.0f} s"
        return None


class Watchdog(bootsteps.StartStopStep):  # type: ignore[misc]
    """The thread, started with the worker. Only where children do the work: elsewhere, a task that
    runs keeps the consumer from asking."""

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def __init__(self, worker: Any, **options: Any) -> None:
        self._stopped = threading.Event()
        self._heard_at = 0.0
        super().__init__(worker, **options)

    def include_if(self, worker: Any) -> bool:
        """Whether this worker can be watched."""
        return worker.use_eventloop and issubclass(worker.pool_cls, TaskPool)

    def start(self, worker: Any) -> None:
        """Watch. The children are forked already: they take no part of it along."""
        self._heard_at = time.monotonic()
        worker.timer.call_repeatedly(PULSE_S, self._listen, (worker,))
        threading.Thread(
            target=self._watch, args=(worker.app.conf.broker_url,), name="watchdog", daemon=True
        ).start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002 - the signature is Celery's
        """Watch no more: a worker that shuts down asks for no messages."""
        self._stopped.set()

    terminate = stop

    def _listen(self, worker: Any) -> None:
        """Called by the consumer's own loop."""
        if is_consuming(worker.consumer):
            self._heard_at = time.monotonic()

    def _watch(self, broker_url: str) -> None:
        ours = settings()
        shortest_s = min(ours.broker_away_s, ours.consumer_silent_s)
        timeout_s = min(PING_TIMEOUT_S, shortest_s / 2)
        broker = Redis.from_url(
            broker_url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # It is asked again a moment later anyway.
            retry=Retry(NoBackoff(), 0),
        )
        vigil = Vigil(
            broker_away_s=ours.broker_away_s,
            consumer_silent_s=ours.consumer_silent_s,
            now=time.monotonic(),
        )
        while not self._stopped.wait(min(CHECK_S, shortest_s / 4)):
            fault = _ask(broker)
            reason = vigil.look(time.monotonic(), fault=fault, heard_at=self._heard_at)
            if reason is not None and not is_stopping():
                _end(f"its broker is {broker_label(broker_url)}, and {reason}")


def is_consuming(consumer: Any) -> bool:
    """Whether a Celery consumer asks its broker for messages, or has no room for any and children at
    work that will make some. To be called by its own loop."""
    if consumer.connection is None or consumer.task_consumer is None:
        return False
    channel = consumer.task_consumer.channel
    if not channel.qos.can_consume():
        return is_any_child_at_work()
    # Kombu tells nobody but itself when it last asked; one that does not know is believed.
    asked_at = getattr(channel, "_brpop_sent_at", time.monotonic())
    return asked_at is not None and time.monotonic() - asked_at < POLL_LATE_S


def _ask(broker: Redis) -> str | None:
    try:
        broker.ping()
    except (RedisError, OSError) as error:
        return str(error) or type(error).__name__
    return None


def _end(reason: str) -> None:
    begin_shutdown()
    last_resort = threading.Timer(DRAIN_S + LOG_S, _exit)
    last_resort.daemon = True
    last_resort.start()
    logger.error("the worker gives up (%s); calls in flight have %.0f s to settle", reason, DRAIN_S)
    deadline = time.monotonic() + DRAIN_S
    while is_any_child_at_work() and time.monotonic() < deadline:
        time.sleep(0.1)
    logger.critical(
        "the worker ends with exit code %d, for its supervisor to start it again: %s",
        EXIT_CODE,
        reason,
    )
    _exit()


def _exit() -> None:
    """End at once, children first. Those that the pool starts in this moment find their parent gone."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(EXIT_CODE)
