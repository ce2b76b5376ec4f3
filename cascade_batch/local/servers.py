"""The two servers of a stack in their supervisor's hands: adopted or started, kept, stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cascade_batch.local.account import reachable_data
from cascade_batch.local.home import Home, StackState
from cascade_batch.local.postgres import SOCKET_NAME, Postgres, find_running
from cascade_batch.local.processes import Child
from cascade_batch.local.sockets import private_socket_folder
from cascade_batch.local.valkey import BrokerAddress, Valkey, new_address
from cascade_batch.local.wheels import postgres_programs, valkey_programs

logger = logging.getLogger(__name__)


class Servers:
    """Postgres and Valkey of one home. Starting and stopping block; each may have its own thread."""

    def __init__(self, home: Home) -> None:
        """Find out where everything is; adopt what a killed supervisor left running.

        Args:
            home: Where data, logs and sockets go.

        Raises:
            ServiceUnreachableError: There are no programs for this platform.
            UsageError: No folder will do.
        """
        self._changed: Callable[[], None] = lambda: None
        self._unsynced = home.run / "unsynced"
        data = reachable_data(home.folder / "postgres", home.account)
        found = find_running(data, home.account)
        self.socket_folder = (
            found[1]
            if found
            else private_socket_folder(home.run / "postgres", SOCKET_NAME, home.account)
        )
        self._postgres = Postgres(
            programs=postgres_programs(home.account),
            data=data,
            socket_folder=self.socket_folder,
            password_file=home.folder / "postgres.password",
            log=home.log("postgres"),
            account=home.account,
        )
        self._valkey = Valkey(valkey_programs(home.account), home.log("valkey"), home.account)
        self.postgres: Child | None = Child(found[0]) if found else None
        self.valkey: Child | None = None
        self.address = new_address()
        self._sync: Child | None = None
        self._is_synced = False

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have this called after a process was started, from the thread that did it."""
        self._changed = changed

    @property
    def database_url(self) -> str:
        """URL of the database: known before the server runs."""
        return self._postgres.url()

    def adopt_valkey(self, state: StackState) -> None:
        """Take over the Valkey of a killed supervisor, or stop it if it does not answer."""
        if state.valkey is None or not state.valkey.is_alive:
            return
        address = BrokerAddress(state.valkey_port, state.valkey_password)
        if address.answers():
            self.valkey, self.address = Child(state.valkey), address
        else:
            self._valkey.stop(state.valkey)

    def start_postgres(self) -> None:
        """Start it if it does not run, making its data folder first if there is none.

        Raises:
            CascadeError: It does not start.
        """
        if self.postgres is not None and self.postgres.is_alive:
            self._postgres.wait_until_ready(self.postgres)
            return
        if not self._postgres.exists:
            self._unsynced.touch(mode=0o600)
            self._postgres.create()
        self.postgres = self._postgres.start()
        self._changed()
        self._postgres.wait_until_ready(self.postgres)

    def keep_syncing(self) -> None:
        """Put a new data folder onto the disk, beside the running server.

        Waiting for it would be most of the first start's time. Only a loss of power in the seconds
        until it is done can damage the new database.
        """
        if self._is_synced:
            return
        if self._sync is None:
            if self._unsynced.exists():
                self._sync = self._postgres.start_sync()
            else:
                self._is_synced = True
        elif not self._sync.is_alive:
            self._is_synced = True
            if self._sync.exit_code == 0:
                self._unsynced.unlink(missing_ok=True)
            else:
                logger.error("the new database is not on the disk; the next start tries again")

    def start_valkey(self) -> None:
        """Start it if it does not run, where it was before if possible.

        Raises:
            ServiceUnreachableError: It does not start.
        """
        if self.valkey is None or not self.valkey.is_alive:
            self.valkey, self.address = self._valkey.start(self.address)
            self._changed()

    def stop_postgres(self) -> None:
        """Stop it if it runs. A sync that is not done begins anew with the next start."""
        if self._sync is not None:
            self._sync.ref.stop()
        if self.postgres is not None:
            self._postgres.stop(self.postgres.ref)
            self.postgres = None

    def stop_valkey(self) -> None:
        """Stop it if it runs."""
        if self.valkey is not None:
            self._valkey.stop(self.valkey.ref)
            self.valkey = None
