"""From a worker's children to its main process: a socket of messages, made before the fork.

A message is whole or not there. A main process that is behind costs nobody time: what could not be sent is
kept, and goes out with what comes next. A child that is killed takes a second's figures with it at most.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from itertools import islice
from typing import Any

import orjson

from cascade_batch.monitoring.meter import Deltas, Key, Meter

SEND_EVERY_S = 1.0
_MOST_SERIES = 500
"""In one message, so that it fits into a socket's buffer."""
_LONGEST_BYTES = 2**18


class Channel:
    """Both ends; a process uses one of them."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.setblocking(False)

    def send(self, deltas: Deltas) -> bool:
        """Send one message; False: there is no room for it now."""
        values = [_listed(part) for part in (deltas.counters, deltas.histograms, deltas.gauges)]
        try:
            self._out.send(orjson.dumps([os.getpid(), *values]))
        except OSError:
            return False
        return True

    def receive(self, timeout_s: float) -> tuple[int, Deltas] | None:
        """The next message and the process that sent it; None: there was none in time."""
        self._in.settimeout(timeout_s)
        try:
            pid, *values = orjson.loads(self._in.recv(_LONGEST_BYTES))
        except (TimeoutError, BlockingIOError):
            return None
        return pid, Deltas(*(_keyed(part) for part in values))

    def close(self) -> None:
        """Close both ends, here."""
        self._out.close()
        self._in.close()


class Shipper:
    """Sends what a meter gathers, about once a second."""

    def __init__(self, meter: Meter, channel: Channel) -> None:
        self.meter = meter
        self._channel = channel
        self._due_at = 0.0
        self._kept: list[Deltas] = []

    @property
    def is_behind(self) -> bool:
        """Whether something waits for room."""
        return bool(self._kept)

    def ship(self, *, now: bool = False) -> None:
        """Send if it is time for it, or `now`."""
        at = time.monotonic()
        if at < self._due_at and not now:
            return
        self._due_at = at + SEND_EVERY_S
        self._kept += _parts(self.meter.take())
        while self._kept and self._channel.send(self._kept[0]):
            del self._kept[0]
        del self._kept[:-_MOST_SERIES]  # nobody has read for minutes

    def close(self) -> None:
        """Send what is left."""
        with contextlib.suppress(OSError):
            self.ship(now=True)


def _parts(deltas: Deltas) -> list[Deltas]:
    if not deltas:
        return []
    sizes = (len(deltas.counters), len(deltas.histograms), len(deltas.gauges))
    return [
        Deltas(
            dict(islice(deltas.counters.items(), at, at + _MOST_SERIES)),
            dict(islice(deltas.histograms.items(), at, at + _MOST_SERIES)),
            dict(islice(deltas.gauges.items(), at, at + _MOST_SERIES)),
        )
        for at in range(0, max(sizes), _MOST_SERIES)
    ]


def _listed(values: dict[Key, Any]) -> list[Any]:
    return [[name, labels, value] for (name, labels), value in values.items()]


def _keyed(values: list[Any]) -> dict[Key, Any]:
    return {(name, tuple(labels)): value for name, labels, value in values}
