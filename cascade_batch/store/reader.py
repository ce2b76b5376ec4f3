"""The role that reads: the public schemas `cascade` and `results`, and nothing else.

Both are public by contract: what they show is documented and kept. `cascade_store` is not: its tables change
with every version, hold what a reader has no business with, and locks taken on them hold up the ledger.
"""

from __future__ import annotations

import hashlib
import hmac
import re

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from cascade_batch.store.engine import CONNECT_TIMEOUT_S, libpq_url

READER = "cascade_reader"
MAX_READERS = 20
"""Connections of the role to the embedded database, so that a dashboard leaves some to the workers."""
_LOCK = 0x6361736361646501


def reader_url(owner_url: str) -> str:
    """Let the role log in to the embedded database, if it can't yet.

    Its password is made from the owner's, so that it is always the same and stands nowhere else.

    Returns:
        The URL for it, password included.
    """
    password = make_url(owner_url).password or ""
    secret = hmac.new(password.encode(), READER.encode(), hashlib.sha256).hexdigest()
    # Put in as text: SQLAlchemy writes a blank in the socket's folder as a plus, which libpq takes for one.
    url = re.sub(r"//([^@/]*@)?", f"//{READER}:{secret}@", libpq_url(owner_url), count=1)
    try:
        psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError:
        _let_in(libpq_url(owner_url), secret)
    return url


def can_become_reader(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether the user of this connection may take the role for a session."""
    found = connection.execute(
        "SELECT current_setting('is_superuser') = 'on' OR pg_has_role(current_user, oid, %s)"
        "  FROM pg_roles WHERE rolname = %s",
        ["SET" if connection.info.server_version >= 160000 else "MEMBER", READER],
    ).fetchone()
    return found is not None and found[0] is True


def _let_in(owner_url: str, secret: str) -> None:
    with psycopg.connect(owner_url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        # Two commands at once would stumble over each other.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("SELECT cascade_store.open_to_readers()")
        hashed = connection.pgconn.encrypt_password(
            secret.encode(), READER.encode(), b"scram-sha-256"
        ).decode()
        role = sql.Identifier(READER)
        for statement in (
            sql.SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}").format(
                role, sql.Literal(MAX_READERS), sql.Literal(hashed)
            ),
            sql.SQL("ALTER ROLE {} SET search_path = results, cascade").format(role),
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role),
        ):
            connection.execute(statement)
