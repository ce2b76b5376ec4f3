"""The embedded stack: Postgres, Valkey and worker processes that start by themselves.

With neither URL set, the first command starts a supervisor, which outlives that command. It runs
both servers out of the wheels that carry them, starts worker processes for the tiers that have
work, and stops everything when nobody has needed it for a while.

The invariant of this package: **one supervisor per home**, whoever starts how many commands at
once. The kernel keeps it (a lock on `run/supervisor.lock`, held for the supervisor's life), not a
process id in a file. What a killed supervisor leaves running is adopted by the next one, as a
worker killed in the middle of a call costs money.
"""

import sys

from cascade_batch.errors import ServiceUnreachableError

if sys.platform == "win32":
    raise ServiceUnreachableError(
        "The embedded stack does not run on Windows.",
        hint="Set CASCADE_DATABASE_URL and CASCADE_REDIS_URL to use a Postgres and a Redis of your"
        " own, or work inside WSL.",
    )
