"""An API key is nowhere but in the environment and on the wire, whatever a provider does with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis

from benchmarks.rig import Rig, rig, write_rows, write_tiers
from cascade_batch.local.stack import stack_status
from cascade_batch.settings import Settings

KEY = "sk-canary-7f3e9a51d2c84b60"
PRICE = {"input": 1, "output": 2}
TROUBLES = (
    "400",
    "401 once",
    "403",
    "404",
    "429 once",
    "500 once",
    "html",
    "200 error",
    "redirect",
    "fine",
)


class _Blabber(BaseHTTPRequestHandler):
    """Quotes the key back in every way in which an error can be told."""

    seen: set[str]
    elsewhere: list[str]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = f"Incorrect API key provided: {self.headers['Authorization']} ({KEY})"
        trouble = next(t for t in TROUBLES if f"<{t}>" in body)
        if self.path.startswith("/elsewhere"):
            self.elsewhere.append(str(self.headers))
        is_again = trouble in self.seen
        self.seen.add(trouble)
        kind, _, once = trouble.partition(" ")
        if kind == "redirect":
            self._answer(307, said, Location="/elsewhere/v1/chat/completions")
        elif kind == "html":
            self._answer(200, f"<html><h1>{said}</h1></html>")
        elif trouble == "200 error":
            self._answer(200, json.dumps({"error": {"message": said, "code": KEY}}))
        elif kind == "fine" or (once and is_again):
            message = {"role": "assistant", "content": "fine"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 5, "completion_tokens": 1}
            self._answer(200, json.dumps({"choices": [choice], "usage": usage}))
        else:
            error = {"error": {"message": said, "type": KEY, "param": KEY}}
            self._answer(int(kind), json.dumps(error), **{"x-request-id": KEY})

    def _answer(self, status: int, body: str, **headers: str) -> None:
        self.send_response(status, KEY)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the test's standard error."""


@pytest.fixture(scope="module")
def blabber() -> Iterator[ThreadingHTTPServer]:
    _Blabber.seen, _Blabber.elsewhere = set(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blabber) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def after_a_job(blabber: ThreadingHTTPServer) -> Iterator[tuple[Rig, str]]:
    """A stack on which a job met every trouble, and all that its commands printed."""
    with rig(CANARY_KEY=KEY) as user:
        write_rows(user, [{"prompt": f"Answer <{trouble}>"} for trouble in TROUBLES])
        tier = {
            "name": "loud", "model": "m", "price": PRICE, "api_key_env": "CANARY_KEY",
            "base_url": f"http://127.0.0.1:{blabber.server_port}/v1", "max_output_tokens": 4,
        }  # fmt: skip
        write_tiers(user, [tier])
        said = []
        for command in (
            ("submit", "data.jsonl", "--budget", "1", "--name", "loud"),
            ("--debug", "tiers", "check"),
            ("resume", "loud"),
            ("watch", "loud"),
            ("status", "loud"),
            ("errors", "loud"),
            ("errors", "loud", "--json"),
            ("reconcile", "loud"),
            ("audit", "loud"),
            ("results", "loud"),
            ("doctor",),
        ):
            done = user.call(*command)
            assert "Traceback" not in done.stderr or command[0] == "--debug", done.stderr
            said.append(done.stdout + done.stderr)
        yield user, "\n".join(said)


def test_the_job_met_every_trouble(after_a_job: tuple[Rig, str]) -> None:
    assert _Blabber.seen == set(TROUBLES)


def test_no_command_prints_it(after_a_job: tuple[Rig, str]) -> None:
    _, said = after_a_job
    assert KEY not in said
    assert "loud" in said


def test_no_table_of_the_database_holds_it(after_a_job: tuple[Rig, str]) -> None:
    user, _ = after_a_job
    tables = user.json(
        "sql",
        "--owner",
        "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS t"
        " FROM information_schema.tables"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    assert len(tables) > 10
    for table in tables:
        rows = user.json("sql", "--owner", f"SELECT x::text AS row FROM {table['t']} x")
        assert KEY not in json.dumps(rows), table["t"]


def test_no_queue_holds_it(after_a_job: tuple[Rig, str]) -> None:
    user, _ = after_a_job
    home = Path(user.environment["CASCADE_HOME"])
    services = stack_status(Settings(database_url=None, redis_url=None, home=home)).services
    assert services is not None
    client = redis.Redis.from_url(services.redis_url)
    for key in client.scan_iter():
        assert KEY.encode() not in (client.dump(key) or b""), key


def test_no_file_of_the_home_holds_it_and_nobody_else_can_read_them(
    after_a_job: tuple[Rig, str],
) -> None:
    user, _ = after_a_job
    home = Path(user.environment["CASCADE_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    open_to_all = [p for p in files if p.stat().st_mode & 0o044 and not _is_shut(p, home)]
    assert open_to_all == []


def _is_shut(path: Path, home: Path) -> bool:
    """Whether a folder above it, up to the home, keeps others out."""
    above = [p for p in path.parents if p.is_relative_to(home)]
    return any(not folder.stat().st_mode & 0o011 for folder in above)


def test_nobody_elsewhere_was_sent_it(after_a_job: tuple[Rig, str]) -> None:
    assert _Blabber.elsewhere == [], "a redirect was followed"
