"""A job of two million rows from end to end: whether anything sags, swells or slows as it goes on.

    python -m benchmarks.scale [--rows 2000000] [--tiers 2] [--latency-ms 0]

Two tiers of the scripted provider and a check that three rows in ten fail, so that a planner with all rows
before it sends them up; or one tier, every row of which is asked once: the same work from the first call to
the last, with the same processes at it, which tells what growing tables cost.

While the job runs, `status` is asked over one connection again and again; the calls made by then give the
speed over time, in tenths of all calls from the first one to the last. What comes after the last call (the
frontier, the job's end) is `finishing_s`. Sizes are those of the job's tables and indexes when it has ended.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa
from numpy.typing import NDArray

from benchmarks.rig import BenchmarkError, Rig, command, provider, record, rig, write_tiers
from cascade_batch.engine.status import job_status
from cascade_batch.errors import JobNotFoundError
from cascade_batch.store.engine import make_engine

JOB = "scale"
LOOK_EVERY_S = 0.5
CALLS_AT_ONCE = 256
_QUESTION = ("--prompt", "{{ question }}")
_MIB = 2**20
_PRICES = ({"input": 0.15, "output": 0.60}, {"input": 9.0, "output": 36.0})
_SIZES = """
SELECT parent.relname AS name, sum(pg_table_size(part.oid)) AS data, sum(pg_indexes_size(part.oid)) AS indexes
  FROM pg_class parent
  JOIN pg_namespace n ON n.oid = parent.relnamespace AND n.nspname = 'cascade_store'
  LEFT JOIN pg_inherits i ON i.inhparent = parent.oid
  JOIN pg_class part ON part.oid = coalesce(i.inhrelid, parent.oid)
 WHERE parent.relkind IN ('r', 'p') AND NOT parent.relispartition
 GROUP BY 1 HAVING sum(pg_table_size(part.oid)) > 1048576 ORDER BY 2 DESC
"""
_DEAD = """
SELECT coalesce(sum(n_dead_tup), 0), coalesce(sum(autovacuum_count), 0)
  FROM pg_stat_user_tables WHERE schemaname = 'cascade_store'
"""


def write_data(one: Rig, rows: int) -> None:
    """Rows of which three in ten are answered by the cheap tier with what the check does not pass."""
    with (one.folder / "data.jsonl").open("w", encoding="utf-8") as data:
        for first in range(0, rows, 10_000):
            data.writelines(
                json.dumps({"custom_id": f"r{row}", "question": f"Is row {row:08} up or down?"})
                + "\n"
                for row in range(first, min(first + 10_000, rows))
            )


def _script(latency_ms: float) -> dict[str, Any]:
    usual = {"text": "up", "output_tokens": 1}
    unsure = {"match": "[0-2] up or", "text": "perhaps", "output_tokens": 1}
    return {
        "models": {
            "small": {"price": _PRICES[0], "latency_ms": latency_ms, "answers": [unsure, usual]},
            "large": {"price": _PRICES[1], "latency_ms": latency_ms, "answers": [usual]},
        }
    }


def _tiers(url: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "model": name,
            "base_url": url,
            "price": price,
            "max_output_tokens": 4,
            "limits": {"concurrency": CALLS_AT_ONCE},
        }
        for name, price in zip(("small", "large"), _PRICES, strict=True)
    ]


class _Watch:
    """What is seen of the job and of its machinery while it runs."""

    def __init__(self, one: Rig) -> None:
        self._rig = one
        self._engine = make_engine(one.services().database_url)
        self._seen: list[tuple[float, int, dict[str, int]]] = []
        self._took_ms: list[float] = []
        self._memory_mib: dict[str, list[float]] = {}

    def until(self, is_over: Callable[[], bool]) -> None:
        """Look on until it is over."""
        with self._engine.connect() as connection:
            while not is_over():
                self._look(connection)
                time.sleep(LOOK_EVERY_S)

    def _look(self, connection: sa.Connection) -> None:
        began = time.perf_counter()
        try:
            status = job_status(connection, JOB)
        except JobNotFoundError:
            return
        finally:
            connection.rollback()
        self._took_ms.append((time.perf_counter() - began) * 1000)
        calls = {name: tier["calls"] for name, tier in status["tiers"].items()}
        self._seen.append((began, status["rows"]["answered"], calls))
        for name, process in self._rig.parts().items():
            if name == "postgres":
                # Its processes share most of what they hold.
                continue
            children = process.children(recursive=True) if name.startswith("worker") else []
            for number, part in enumerate([process, *children]):
                key = f"{name}, child {number}" if number else name
                self._memory_mib.setdefault(key, []).append(_rss_mib(part))

    def figures(self) -> dict[str, Any]:
        """All that was seen."""
        times = np.array([at for at, _, _ in self._seen])
        rows = self._seen[-1][1]
        names = list(self._seen[-1][2])
        calls = np.array([[of_tier[name] for name in names] for _, _, of_tier in self._seen])
        # Of calls, and not of rows: later on, a part of them is made for rows that have an answer.
        tenths, ended = _speeds(times, calls.sum(axis=1))
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            sizes = connection.execute(sa.text(_SIZES)).all()
            dead, vacuums = connection.execute(sa.text(_DEAD)).one()
        return {
            "calls_per_s_by_tenth": tenths,
            "last_tenth_to_first": round(tenths[-1] / tenths[0], 3),
            "calls_per_s_by_tenth_of_tier": {
                name: _speeds(times, calls[:, place])[0] for place, name in enumerate(names)
            },
            "finishing_s": round(float(times[-1]) - ended, 1),
            "status_ms_median": round(float(np.median(self._took_ms)), 2),
            "status_ms_worst": round(max(self._took_ms), 2),
            "status_asked": len(self._took_ms),
            "memory_mib": {
                name: {"after_a_tenth": round(seen[len(seen) // 10]), "most": round(max(seen))}
                for name, seen in self._memory_mib.items()
            },
            "bytes_per_row": {
                name: {
                    "data": round(float(data) / rows, 1),
                    "indexes": round(float(indexes) / rows, 1),
                }
                for name, data, indexes in sizes
            },
            "dead_rows": int(dead),
            "autovacuums": int(vacuums),
        }


def _speeds(times: NDArray[np.float64], calls: NDArray[np.int64]) -> tuple[list[int], float]:
    """Calls per second in each tenth of the calls, from the first to the last, and when the last was seen."""
    moments = np.interp(np.linspace(0, calls[-1], 11)[1:], calls, times)
    began, moments[-1] = times[calls > 0][0], times[calls == calls[-1]][0]
    tenths = calls[-1] / 10 / np.diff(np.concatenate([[began], moments]))
    return [round(float(tenth)) for tenth in tenths], float(moments[-1])


def _rss_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / _MIB)
    except psutil.NoSuchProcess:
        return 0.0


def measure(one: Rig, rows: int, tiers: int, latency_ms: float) -> dict[str, Any]:
    """All figures of the benchmark."""
    write_data(one, rows)
    with provider(one, _script(latency_ms)) as server:
        write_tiers(one, _tiers(server.url)[:tiers])
        one.run("up")
        # Enough for drafts and for what the check fails, and far from all rows on the dear tier.
        least = one.json("estimate", "data.jsonl", *_QUESTION)["minimum_budget_usd"]
        watch = _Watch(one)
        began = time.monotonic()
        submit = subprocess.Popen(
            command(
                "submit", "data.jsonl", "--name", JOB, "--budget", f"{2 * least:.6f}",
                *(("--check", "regex:^up$") if tiers > 1 else ()), *_QUESTION,
            ),
            cwd=one.folder, env=dict(one.environment), stdout=subprocess.DEVNULL,
            stderr=(one.folder / "progress").open("w"),
        )  # fmt: skip
        watch.until(lambda: submit.poll() is not None)
        seconds = time.monotonic() - began
        if submit.returncode:
            raise BenchmarkError((one.folder / "progress").read_text()[-500:])
        found = watch.figures()
        bill = server.bill()
    status = one.status(JOB)
    answers = {name: tier["answers"] for name, tier in status["tiers"].items()}
    if bill["calls_billed"] != sum(answers.values()) or bill["duplicates"]:
        raise BenchmarkError(f"{bill['calls_billed']} calls for {answers}")
    began = time.monotonic()
    with (one.folder / "out.jsonl").open("wb") as out:
        subprocess.run(
            command("results", JOB),
            cwd=one.folder,
            env=dict(one.environment),
            stdout=out,
            check=True,
        )
    return {
        "rows": rows,
        "latency_ms": latency_ms,
        "answers": answers,
        "calls_per_s": round(sum(answers.values()) / seconds),
        "waves": status["waves"],
        "seconds": round(seconds, 1),
        "rows_per_s": round(rows / seconds),
        "results_rows_per_s": round(rows / (time.monotonic() - began)),
        "audit": one.run("audit", JOB).strip(),
        **found,
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--tiers", type=int, choices=(1, 2), default=2)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    given = parser.parse_args()
    with rig(CASCADE_LOCAL_WORKERS="1") as one:
        figures = measure(one, given.rows, given.tiers, given.latency_ms)
    record("scale" if given.tiers > 1 else "scale-one-tier", figures)


if __name__ == "__main__":
    main()
