"""The embedded broker: Valkey on a port of the loopback interface, behind a password.

Not on a Unix socket, because Celery and redis-py write such URLs in two ways that exclude each
other. Not on disk: Postgres is the truth, and the sweeper publishes again what a broker forgot.
"""

from __future__ import annotations

import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.local.account import Account
from cascade_batch.local.processes import Child, ProcessRef, last_lines, start, wait_until
from cascade_batch.local.wheels import Programs

START_TIMEOUT_S = 20.0
_PORT_ATTEMPTS = 10

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir /
daemonize no
save ""
appendonly no
# A broker that forgets messages to make room would be worse than one that says it is full.
maxmemory-policy noeviction
# A client that died without a word is noticed.
tcp-keepalive 60
"""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a Valkey listens, and what it asks for."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """The URL, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Whether a server with our password is there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                expected = b"+OK\r\n+PONG\r\n"
                received = b""
                while len(received) < len(expected):
                    part = connection.recv(64)
                    if not part:
                        return False
                    received += part
        except OSError:
            return False
        return received == expected


@dataclass(frozen=True, slots=True)
class Valkey:
    """How to run the embedded broker."""

    programs: Programs
    log: Path
    account: Account

    def start(self, address: BrokerAddress) -> tuple[Child, BrokerAddress]:
        """Start it and wait until it answers.

        Args:
            address: Where it shall be, if that port is still free.

        Returns:
            Its process, and where it is.

        Raises:
            ServiceUnreachableError: It ended, or took too long.
        """
        for _ in range(_PORT_ATTEMPTS):
            child = start(
                # The configuration comes through standard input: the password in it is in no file
                # and no list of processes.
                [self.programs.folder / "valkey-server", "-"],
                log=self.log,
                env={},
                cwd=Path("/"),
                account=self.account,
                stdin=_CONFIGURATION.format(port=address.port, password=address.password).encode(),
            )
            if wait_until(address.answers, child, timeout_s=START_TIMEOUT_S):
                return child, address
            child.ref.stop()
            address = new_address()  # somebody may have taken the port in the meantime
        raise ServiceUnreachableError(
            f"The embedded Valkey did not start. Its log ends:\n{last_lines(self.log)}",
            hint=f"The whole log is {self.log}.",
        )

    def stop(self, server: ProcessRef) -> None:
        """Stop it; what is in it is lost, as planned."""
        server.stop((signal.SIGTERM, 5.0))


def new_address() -> BrokerAddress:
    """A port that is free now, and a new password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return BrokerAddress(port, secrets.token_urlsafe(32))
