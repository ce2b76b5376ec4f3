"""The two servers by themselves, as every integration test gets them."""

from __future__ import annotations

import psycopg
import pytest
import redis


def test_fresh_database_has_the_schema(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'cascade'"
        ).fetchone()
    assert tables is not None
    assert tables[0] > 0


def test_nobody_gets_in_without_the_password(postgres_url: str, redis_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        folder = connection.info.host
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://cascade@/cascade?host={folder}", password="guess")
    port = redis.Redis.from_url(redis_url).connection_pool.connection_kwargs["port"]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port, retry=None).ping()


def test_postgres_is_reached_through_its_socket_only(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        addresses = connection.execute("SHOW listen_addresses").fetchone()
    assert addresses == ("",)
