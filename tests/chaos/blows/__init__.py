"""Blows, by name: each is a context that prepares itself beside the stack and yields what deals the blow.

with BLOWS["kill all workers"](scene) as strike:
    ...                     # the job begins
    struck = strike()       # False: there was nothing (left) to strike
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.chaos.blows import clocks, messages, network, processes, servers
from tests.chaos.scene import Scene

Strike = Callable[[], bool]
Blow = Callable[[Scene], AbstractContextManager[Strike]]

BLOWS: dict[str, Blow] = {
    "kill a worker's child": processes.kill_child,
    "kill a worker's main process": processes.kill_main,
    "kill all workers": processes.kill_all_workers,
    "kill the planner": processes.kill_planner,
    "kill the planner during a wave": processes.kill_planner_in_wave,
    "stop workers softly": processes.stop_softly,
    "freeze workers beyond the lease": processes.freeze,
    "two more sweepers, one more planner": processes.more_sweepers_and_planners,
    "kill the broker, its data is lost": servers.kill_broker,
    "kill the broker, it comes back with old data": servers.kill_broker_keeping_data,
    "empty the broker": servers.empty_broker,
    "restart the database": servers.restart_database,
    "kill the database": servers.kill_database,
    "drop the database's connections": servers.drop_connections,
    "cut the network to the database": network.cut_database,
    "cut the planner's network to the database": network.cut_planner,
    "lose a message": messages.lose_one,
    "deliver twice": messages.deliver_twice,
    "deliver ten times": messages.deliver_ten_times,
    "a message for a deleted job": messages.for_a_deleted_job,
    "a worker's clock jumps an hour ahead": clocks.worker_ahead,
    "a worker's clock jumps an hour back": clocks.worker_back,
}
"""In the order in which the short form groups them."""
TAKING_LEASES = frozenset(
    {
        "kill a worker's child",
        "kill a worker's main process",
        "kill all workers",
        "freeze workers beyond the lease",
        "cut the network to the database",
    }
)
"""Those after which leases run out, and what was reserved under them is at risk."""
