"""Engines and connections. Every failure to connect becomes one clear error (exit code 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from cascade_batch.errors import ServiceUnreachableError, UsageError

CONNECT_TIMEOUT_S = 10
KEEP_ALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A dead network must not hold anybody for the two hours that TCP would."""
# The same for the server's end; over a Unix socket it changes nothing.
_SERVER_KEEP_ALIVE = (
    "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 30000"
)


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver that this project uses (psycopg 3).

    Raises:
        UsageError: It is no Postgres URL.
    """
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url)
    if not url.startswith("postgresql+psycopg://"):
        raise UsageError(
            "CASCADE_DATABASE_URL is no Postgres URL.",
            hint="Write it as postgresql://user:password@host:5432/database.",
        )
    return url


def libpq_url(url: str) -> str:
    """The URL as psycopg itself takes it."""
    return re.sub(r"^postgresql\+psycopg://", "postgresql://", sqlalchemy_url(url))


def hide_password(url: str) -> str:
    """The URL without its password, for messages."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return re.sub(r"//[^@/]*@", "//***@", url)


def make_engine(
    database_url: str, *, pooled: bool = False, after_pauses: bool = False
) -> sa.Engine:
    """An engine; pooled only where one process asks often (most commands ask once).

    Args:
        after_pauses: Connections of the pool are tried before they are used again, and replaced where the
            server was started anew in between.
    """
    options: dict[str, Any] = {"pool_pre_ping": after_pauses} if pooled else {"poolclass": NullPool}
    engine = sa.create_engine(
        sqlalchemy_url(database_url),
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "cascade-batch",
            **KEEP_ALIVE,
        },
        **options,
    )
    sa.event.listen(engine, "connect", _have_server_notice)
    return engine


def _have_server_notice(connection: psycopg.Connection[Any], _: object) -> None:
    """A planner whose host or network went away holds its job's lock until the server misses it."""
    connection.execute(_SERVER_KEEP_ALIVE)
    connection.commit()


def raw_connection(connection: sa.Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The driver's connection below, for what SQLAlchemy has no words for; in the same transaction."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("the database driver must be psycopg")
    return raw


@contextmanager
def reachable(database_url: str) -> Iterator[None]:
    """Turn a lost or refused connection inside the block into a ServiceUnreachableError."""
    try:
        yield
    except (OperationalError, psycopg.OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        if isinstance(cause, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable):
            raise
        first_line = str(cause).strip().splitlines()[0] if str(cause).strip() else "no answer"
        raise ServiceUnreachableError(
            f"The database at {hide_password(database_url)} can't be reached: {first_line}",
            hint="Check CASCADE_DATABASE_URL, and that the server runs.",
        ) from error
