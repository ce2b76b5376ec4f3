"""Sends what is in the outbox, beside the sweeper: a receiver that hangs holds up nothing else."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

import sqlalchemy as sa

from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.notifications.message import Variables
from cascade_batch.notifications.outbox import claim_due, note_outcome, note_shares
from cascade_batch.store.engine import make_engine, reachable

logger = logging.getLogger(__name__)

ROUND_S = 1.0
_MOST = 50
_LONGEST_WAIT_S = 30.0


class Courier:
    """Looks for messages every second and sends them. Two at once do no harm."""

    def __init__(
        self,
        database_url: str,
        allowed: Sequence[str] = (),
        variables: Variables = os.environ.get,
    ) -> None:
        """Make one.

        Args:
            allowed: Hosts that may be told things without encryption, or inside the own network.
            variables: Where addresses and secrets are, by the names of their variables.
        """
        self._url = database_url
        self._allowed = allowed
        self._variables = variables

    def send_due(self, engine: sa.Engine) -> int:
        """Note the shares of budgets that are used, and send what is due, once.

        Returns:
            How many messages were tried.
        """
        with engine.begin() as connection:
            note_shares(connection)
            due = claim_due(connection, _MOST)
        if not due:
            return 0
        # Imported by those only who have something to send.
        from cascade_batch.notifications.addresses import AllowedHosts
        from cascade_batch.notifications.sending import send_now

        allowed = AllowedHosts(self._allowed)
        # Outside of every transaction: a receiver may take its time.
        outcomes = send_now([message for _, message in due], self._variables, allowed)
        with engine.begin() as connection:
            for (row, _), outcome in zip(due, outcomes, strict=True):
                given_up = note_outcome(connection, row, outcome)
                if outcome.error is not None:
                    logger.warning(
                        "job.%s to %s, try %d: %s%s",
                        row["event"],
                        row["shown"],
                        row["tries"],
                        outcome.error,
                        "; given up" if given_up else "",
                    )
        return len(due)

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set; outlives outages of the database, and its own faults."""
        engine = make_engine(self._url, pooled=True)
        failures = 0
        while not stop.is_set():
            try:
                with reachable(self._url):
                    self.send_due(engine)
                failures = 0
            except ServiceUnreachableError:
                failures += 1  # the sweeper says so
                engine.dispose()
            except Exception:
                failures += 1
                logger.exception("sending messages failed and is tried again")
            stop.wait(min(ROUND_S * (1 + failures), _LONGEST_WAIT_S))
        engine.dispose()
