"""The rows that failed: one by one, by what they have in common, and as a file to try them again from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from cascade_batch.errors import UsageError
from cascade_batch.results.files import whole_file
from cascade_batch.results.reading import stream
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.failures import FAILED, Reason

_BLOCK_ROWS = 10_000
_ROWS = f"""
WITH failed AS ({FAILED})
SELECT r.custom_id, f.row_no, r.line_no, f.reason, f.error, r.input
  FROM failed f JOIN cascade_store.row r ON r.job_id = %(job)s AND r.row_no = f.row_no
 ORDER BY f.row_no
"""  # noqa: S608
_GROUPS = f"""
WITH failed AS ({FAILED}),
     grouped AS (SELECT reason, kind, count(*) AS rows, min(row_no) AS row_no
                   FROM failed GROUP BY reason, kind)
SELECT g.reason, g.rows, c.error, r.custom_id, r.row_no, r.line_no
  FROM grouped g
  JOIN cascade_store.choice c ON c.job_id = %(job)s AND c.row_no = g.row_no
  JOIN cascade_store.row r ON r.job_id = %(job)s AND r.row_no = g.row_no
 ORDER BY g.rows DESC, g.row_no
"""  # noqa: S608
_MISSING = f"""
WITH failed AS ({FAILED})
SELECT (coalesce((SELECT sum((SELECT min(w) FROM unnest(r.worst_nanousd) w))
                    FROM failed f JOIN cascade_store.row r ON r.job_id = %(job)s AND r.row_no = f.row_no
                   WHERE f.reason = 'money'
                     AND NOT EXISTS (SELECT FROM cascade_store.follower w
                                      WHERE w.job_id = %(job)s AND w.row_no = f.row_no)), 0)
        - b.budget_nanousd + b.spent_nanousd + b.at_risk_nanousd + b.reserved_nanousd
        + b.overrun_nanousd)::bigint
  FROM cascade_store.balance b WHERE b.job_id = %(job)s
"""  # noqa: S608
_OWN_KEYS = {"custom_id", "row_no", "line_no", "reason", "message", "row"}
"""What every line of a file of failures has had from the first version on."""


class FailedRow(NamedTuple):
    """A row without an answer; `line_no` is its line in the data set, `input` what stands there."""

    custom_id: str
    row_no: int
    line_no: int
    reason: Reason
    error: str
    input: dict[str, Any]


class FailureGroup(NamedTuple):
    """Rows that failed in the same way, and the first of them as an example."""

    reason: Reason
    rows: int
    error: str
    custom_id: str
    row_no: int
    line_no: int


def failed_rows(connection: sa.Connection, job_id: int) -> Iterator[FailedRow]:
    """Rows that failed, with the reason, in input order."""
    for row in stream(connection, _ROWS, {"job": job_id}):
        yield FailedRow(*row)


def failure_groups(connection: sa.Connection, job_id: int) -> list[FailureGroup]:
    """What went wrong, most frequent first. Messages that differ in numbers and ids only are one group."""
    found = raw_connection(connection).execute(_GROUPS, {"job": job_id}).fetchall()
    return [FailureGroup(*row) for row in found]  # type: ignore[arg-type]


def missing_money(connection: sa.Connection, job_id: int) -> int:
    """Nano-dollars to add so that every row that the money did not reach can be asked, at worst case on its
    cheapest tier; 0 if what is free will do. Rows that follow another one cost nothing."""
    found = raw_connection(connection).execute(_MISSING, {"job": job_id}).fetchone()
    return max(int(str(found[0])), 0) if found else 0


def error_file(results: Path) -> Path:
    """Where the failures go beside a file of results: `out.errors.jsonl` for `out.parquet`."""
    return results.with_name(f"{results.stem}.errors.jsonl")


def require_own(path: Path) -> None:
    """Make sure that a file of failures may be written, or removed, at this place.

    Raises:
        UsageError: There is a file that is none of ours.
    """
    if path.exists() and not _is_own(path):
        raise UsageError(
            f"{path} is in the way: the rows that failed would be written there.",
            hint="Move it, or give the results another name.",
        )


def write_failures(failures: Iterable[FailedRow], path: Path) -> int:
    """Write a line of JSON for each row that failed, with all that is needed to try it again: `custom_id`,
    `row_no`, `line_no`, `reason`, `error`, and the `row` itself as it stood in the data set. `message` is the
    error under the name that it had first.

    Without any, there is no such file afterwards: one of an earlier time is removed.

    Returns:
        How many rows were written.
    """
    iterator = iter(failures)
    block = list(islice(iterator, _BLOCK_ROWS))
    if not block:
        path.unlink(missing_ok=True)
        return 0
    rows = 0
    with whole_file(path, "the failures are") as unfinished, unfinished.open("wb") as file:
        while block:
            file.write(b"".join(_line(failure) for failure in block))
            rows += len(block)
            block = list(islice(iterator, _BLOCK_ROWS))
    return rows


def _line(failure: FailedRow) -> bytes:
    told = {
        "custom_id": failure.custom_id,
        "row_no": failure.row_no,
        "line_no": failure.line_no,
        "reason": failure.reason,
        "error": failure.error,
        "message": failure.error,
        "row": failure.input,
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _is_own(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = orjson.loads(file.readline())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(first, dict) and set(first) - {"error"} == _OWN_KEYS
