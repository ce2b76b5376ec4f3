"""`python broken_worker.py FAULT worker …`: a worker that breaks as soon as it is ready.

* `deaf`: its loop runs on, but asks the broker for nothing any more.
* `full`: it believes for ever that its children have all the messages that they can take.
* `stuck`: its main process waits for something that never happens.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from celery import signals

from cascade_batch.cli.main import main

fault = sys.argv.pop(1)


@signals.worker_ready.connect
def break_down(sender: Any, **_: object) -> None:
    """Called by the main process, with the consumer."""
    qos = sender.task_consumer.channel.qos
    action = {
        "deaf": sender.hub.on_tick.clear,
        "full": lambda: setattr(qos, "can_consume", lambda: False),
        "stuck": threading.Event().wait,
    }[fault]
    # The first message may be taken before.
    sender.timer.call_after(1.0, action)


main()
