"""`python -m workers.healthcheck`: does the worker on this host answer over the broker?

Exits 0 if it does. Asks for any worker of this host name, as a worker is called after its tiers.
"""

from __future__ import annotations

import socket
import sys

TIMEOUT_S = 10.0


def main() -> None:
    """Ask, and exit with 0 or 1."""
    from workers.app import app

    replies = app.control.broadcast(
        "ping",
        reply=True,
        timeout=TIMEOUT_S,
        limit=1,
        pattern=f"*@{socket.gethostname()}",
        matcher="glob",
    )
    sys.exit(0 if replies else 1)


if __name__ == "__main__":
    main()
