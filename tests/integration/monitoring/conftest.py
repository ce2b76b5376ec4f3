"""A worker with its planner, and a sweeper, all watched; a job that meets refusals; what was seen of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from celery import Celery
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from cascade_batch.dispatch.app import make_app
from cascade_batch.dispatch.publisher import CeleryPublisher
from cascade_batch.providers.scripted import spawn_provider
from tests.integration.dispatch.workers import worker_process
from tests.integration.engine.bench import AT_WORK, Bench

ROOT = Path(__file__).parents[3]
ROWS = 90
JOB = "watched job"
LATER = "later job"
SECRET = "sk-canary-51d2c84b60aa"
SCRIPT = """\
seed: 1
models:
  small: {price: {input: 1, output: 2}, echo: true, latency_ms: 20}
  large: {price: {input: 1, output: 2}, echo: true, latency_ms: 20}
faults:
  - {kind: rate_limit, nth: 20, retry_after_s: 1}
  - {kind: bad_request, match: poison}
"""


class _Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    requests: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the test's standard error."""


@dataclass(frozen=True)
class Seen:
    """What an operator sees of the job: its status, both pages, both logs, what the collector got, and what
    Flower gets. `later`: after both children of the worker were replaced, and had a job of their own.

    Attributes:
        left_files: What the worker left in its folder for temporary files.
        events: Celery's, of tasks.
    """

    status: dict[str, Any]
    samples: list[Sample]
    later_status: dict[str, Any]
    later: list[Sample]
    left_files: list[Path]
    events: list[dict[str, Any]]
    worker_log: str
    sweeper_log: str
    requests: list[ExportTraceServiceRequest]

    def value(self, name: str, **labels: str) -> float:
        return total(self.samples, name, **labels)


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """Sum over the series of this name with these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def until(condition: Callable[[], bool], explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def scrape(port: int) -> list[Sample]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return [sample for f in text_string_to_metric_families(text) for sample in f.samples]


@pytest.fixture(scope="module")
def collector() -> Iterator[ThreadingHTTPServer]:
    _Collector.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def seen(
    fresh_database: str,
    redis_url: str,
    collector: ThreadingHTTPServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    """One job from start to end."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "script.yaml").write_text(SCRIPT)
    (folder / "tmp").mkdir()
    ports = free_port(), free_port()
    watched = {
        "CASCADE_LOG_FORMAT": "json",
        "CASCADE_CANARY_KEY": SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
    }
    services = {"CASCADE_DATABASE_URL": fresh_database, "CASCADE_REDIS_URL": redis_url}
    bench = Bench(fresh_database, CeleryPublisher(make_app(redis_url)))
    with (
        spawn_provider(folder / "script.yaml") as provider,
        worker_process(
            folder, fresh_database, redis_url, "--tiers=small,large", "--control", "--concurrency=2",
            **watched, CASCADE_METRICS_PORT=str(ports[0]), TMPDIR=str(folder / "tmp"),
        ) as worker,
        _flowers_events(make_app(redis_url)) as events,
        _sweeper(folder / "sweeper.txt", services | watched | {"CASCADE_METRICS_PORT": str(ports[1])}),
    ):  # fmt: skip
        tiers = [
            bench.tier(provider, name, max_output_tokens=64, api_key_env="CASCADE_CANARY_KEY")
            for name in ("small", "large")
        ]
        rows = [{"text": f"row {n}"} for n in range(ROWS)] + [{"text": "poison"}]

        def watch(name: str, finished: int) -> tuple[dict[str, Any], list[Sample]]:
            bench.submit(tiers, rows, name=name, chunk_rows=30)
            until(lambda: bench.state(name) not in AT_WORK, worker.log)
            status = bench.status(name)
            samples: list[Sample] = []

            def is_all_told() -> bool:
                """What a child counted arrives within a second, what the database knows within some."""
                samples[:] = [sample for port in ports for sample in scrape(port)]
                answers = sum(tier["answers"] for tier in status["tiers"].values())
                answered = {"job": name, "outcome": "answered"}
                return (
                    total(samples, "cascade_batch_calls_total", **answered) == answers
                    and total(samples, "cascade_batch_plans_total", outcome="finished") == finished
                    and total(samples, "cascade_batch_jobs", state="finished") == finished
                )

            until(is_all_told, lambda: "\n".join(map(str, samples)))
            return status, samples

        status, samples = watch(JOB, 1)
        first = set(worker.children)
        for child in first:
            os.kill(child, signal.SIGKILL)
        until(lambda: len(set(worker.children) - first) == len(first), worker.log)
        later_status, later = watch(LATER, 2)
        worker.ask_to_stop()
        until(lambda: worker.exit_code is not None, worker.log)
        worker_log = worker.log()
    bench.engine.dispose()
    return Seen(
        status=status,
        samples=samples,
        later_status=later_status,
        later=later,
        left_files=list((folder / "tmp").rglob("*")),
        events=events,
        worker_log=worker_log,
        sweeper_log=(folder / "sweeper.txt").read_text(),
        requests=_Collector.requests,
    )


@contextlib.contextmanager
def _flowers_events(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """Of tasks, as they come."""
    events: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:

        def note(event: dict[str, Any]) -> None:
            if event["type"].startswith("task-"):
                events.append(event)

        receiver = app.events.Receiver(connection, handlers={"*": note})
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
        thread.start()
        yield events
        receiver.should_stop = True
        thread.join()


@contextlib.contextmanager
def _sweeper(log: Path, variables: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cascade_batch", "sweeper"],
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=output,
            stderr=output,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
