"""A million rows into the database and out of it again: rows per second and memory of the commands.

    python -m benchmarks.ingest_export [--rows 1000000]        (make bench-io)

In: `submit` of a file with half a kilobyte a row, to where no worker listens, beside a bare COPY of the same
lines into a table of one column of JSON; and the same with `--start-early`, with the time after which
the first rows wait for a worker. Out: `results` as JSON Lines and as Parquet, once every row has an
answer, which the ledger stores without a model. Memory is the most that the command's process held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ledger import answer_all, own_database, release_all
from benchmarks.rig import BenchmarkError, Rig, command, record, rig, write_tiers
from cascade_batch.store.engine import libpq_url, make_engine

ROW_BYTES = 512
JOB = "rows"
EARLY_JOB = "early rows"
_RELEASED = """
SELECT FROM cascade_store.chunk c JOIN cascade_store.job j USING (job_id) WHERE j.name = %s LIMIT 1
"""
_BLOCK_BYTES = 1 << 18
_MIB = 2**20


def write_data(path: Path, rows: int) -> None:
    """Lines of half a kilobyte with an id, a question and a label."""
    filler = "The quick brown fox jumps over the lazy dog. " * 12
    with path.open("w", encoding="utf-8") as data:
        for row in range(rows):
            fixed = {"custom_id": f"row-{row:08}", "label": "up", "question": ""}
            room = ROW_BYTES - len(json.dumps(fixed)) - 1
            fixed["question"] = f"Row {row}: {filler}"[:room]
            data.write(json.dumps(fixed) + "\n")


def _timed(one: Rig, rows: int, *arguments: str) -> dict[str, Any]:
    """A command from its start to its end."""
    began = time.monotonic()
    with (one.folder / "said").open("w") as said:
        process = subprocess.Popen(
            command(*arguments), cwd=one.folder, env=dict(one.environment), stdout=said, stderr=said
        )
        _, code, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if code:
        raise BenchmarkError((one.folder / "said").read_text()[-500:])
    return {
        "rows_per_s": round(rows / seconds),
        "seconds": round(seconds, 2),
        "cpu_us_per_row": round((usage.ru_utime + usage.ru_stime) / rows * 1e6, 1),
        "peak_mib": round(usage.ru_maxrss * 1024 / _MIB, 1),
    }


def _bare_copy(url: str, path: Path, rows: int) -> dict[str, Any]:
    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute("CREATE TABLE bare (line jsonb)")
        began = time.monotonic()
        # No line has a backslash or a tab: it is its own escaped form.
        with (
            path.open("rb") as data,
            connection.cursor() as cursor,
            cursor.copy("COPY bare FROM STDIN") as copy,
        ):
            while block := data.read(_BLOCK_BYTES):
                copy.write(block)
        connection.commit()
        seconds = time.monotonic() - began
        connection.execute("DROP TABLE bare")
    return {"rows_per_s": round(rows / seconds), "seconds": round(seconds, 2)}


def _early(one: Rig, url: str, rows: int) -> dict[str, Any]:
    """Submit with `--start-early`, and see when there is something to do for a worker."""
    ended = threading.Event()
    began = time.monotonic()
    found: dict[str, float] = {}

    def watch() -> None:
        with psycopg.connect(libpq_url(url), autocommit=True) as connection:
            while not ended.wait(0.02):
                if connection.execute(_RELEASED, [EARLY_JOB]).fetchone() is not None:
                    found["first_rows_wait_s"] = round(time.monotonic() - began, 2)
                    return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        figures = _timed(
            one, rows, "submit", "data.jsonl", "--name", EARLY_JOB, "--budget", "100000", "--detach",
            "--prompt", "Once more: {{ question }}", "--policy", "cheapest", "--start-early", "--cache",
        )  # fmt: skip
    finally:
        ended.set()
        watching.join()
    if not found:
        raise BenchmarkError("nothing was released before all was read")
    return {**figures, **found}


def _release(url: str) -> None:
    release_all(make_engine(url), JOB)


def measure(one: Rig, url: str, rows: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    path = one.folder / "data.jsonl"
    write_data(path, rows)
    price = {"input": 0.15, "output": 0.6}
    tier = {"name": "small", "model": "small", "base_url": "http://127.0.0.1:9/v1", "price": price}
    write_tiers(one, [{**tier, "max_output_tokens": 4}])
    one.run("db", "upgrade")
    bare = _bare_copy(url, path, rows)
    ingest = _timed(
        one, rows, "submit", "data.jsonl", "--name", JOB, "--budget", "100000", "--detach",
        "--prompt", "{{ question }}", "--policy", "cheapest",
    )  # fmt: skip
    # In a process of its own: what one holds at most counts for those that it starts.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as planner:
        planner.submit(_release, url).result()
    if asyncio.run(answer_all(url, "benchmark")) != rows:
        raise BenchmarkError("not every row was answered")
    found = {
        "rows": rows,
        "row_bytes": ROW_BYTES,
        "bare_copy": bare,
        "submit": ingest,
        "submit_to_bare_copy": round(ingest["rows_per_s"] / bare["rows_per_s"], 3),
    }
    for kind in ("jsonl", "parquet"):
        found[f"results_{kind}"] = _timed(one, rows, "results", JOB, "-o", f"out.{kind}")
    with (one.folder / "out.jsonl").open("rb") as lines:
        if sum(1 for _ in lines) != rows:
            raise BenchmarkError("the results are not complete")
    # Last, as nobody answers the rows that it releases.
    found["submit_early"] = _early(one, url, rows)
    return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    with rig() as one:
        one.run("up")
        url = own_database(one.services().database_url, "io_benchmark")
        urls = {"CASCADE_DATABASE_URL": url, "CASCADE_REDIS_URL": one.services().redis_url}
        apart = replace(one, environment={**one.environment, **urls})
        record("ingest-export", measure(apart, url, given.rows))


if __name__ == "__main__":
    main()
