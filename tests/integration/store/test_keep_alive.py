"""Over a network, both ends of a connection notice within half a minute that the other one is gone."""

from __future__ import annotations

import socket
import time

import psycopg
import sqlalchemy as sa

from benchmarks.slow_disk import postgres_in
from cascade_batch.store.engine import make_engine, raw_connection
from tests.integration.folders import server_folder


def test_a_planner_that_is_cut_off_is_missed():
    with server_folder("cascade-net-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        server = postgres_in(folder)
        server.create()
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("listen_addresses = '127.0.0.1'\n")
            settings.write(f"port = {port}\n")
        probe.close()
        child = server.start()
        try:
            password = (folder / "password").read_text()
            url = f"postgresql://cascade:{password}@127.0.0.1:{port}/template1"
            _wait_for(url)
            with make_engine(url).connect() as connection:
                at_the_server = connection.execute(
                    sa.text(
                        "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_%' ORDER BY name"
                    )
                ).all()
                fileno = raw_connection(connection).fileno()
                with socket.socket(fileno=socket.dup(fileno)) as ours:
                    idle_s = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        finally:
            server.stop(child.ref)
    assert dict(tuple(row) for row in at_the_server) == {
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_user_timeout": "30000",
    }
    assert idle_s == 15


def _wait_for(url: str) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < ends
            time.sleep(0.05)
        else:
            return
