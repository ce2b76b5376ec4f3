"""Submit: from a stream of records to a stored job, in one transaction, before a cent is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import orjson
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.exc import IntegrityError

from cascade_batch.domain.job import JobSpec
from cascade_batch.engine.earlier_answers import take_earlier_answers
from cascade_batch.engine.evidence import JobEvidence
from cascade_batch.engine.followers import store_followers
from cascade_batch.engine.job_view import standing_of
from cascade_batch.engine.jobs import find_job, notify_jobs_changed
from cascade_batch.engine.planner import PLANNER, Planner
from cascade_batch.engine.ports import ChunkNotice
from cascade_batch.engine.release import note_planning, release_wave, write_decisions
from cascade_batch.engine.request_keys import SameRows
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_budget, require_columns
from cascade_batch.errors import DataError, JobExistsError
from cascade_batch.ledger import open_account, read_balance
from cascade_batch.notifications.outbox import store_targets
from cascade_batch.settings import settings
from cascade_batch.store.engine import raw_connection
from cascade_batch.store.partitions import attach_partitions, create_loading_table
from cascade_batch.store.result_view import create_result_view
from cascade_batch.store.tables import JOB, JOB_TIER
from cascade_batch.words import argument, command

Raw = psycopg.Connection[tuple[object, ...]]

PLAN_AT_ONCE_ROWS = 50_000
"""Rows up to which the first wave is planned, in a moment, before the job can be seen. A larger job is left
to the planner's process, which has to read all of it anyway, and has the memory for it."""
_COPY_BLOCK_BYTES = 1 << 18
_STILL_NEEDED = """
SELECT coalesce(sum((SELECT min(w) FROM unnest(r.worst_nanousd) w)), 0)::bigint
  FROM cascade_store.row r
 WHERE r.job_id = %(job)s
   AND NOT EXISTS (SELECT FROM cascade_store.follower f WHERE f.job_id = %(job)s AND f.row_no = r.row_no)
   AND NOT EXISTS (SELECT FROM cascade_store.answer a WHERE a.job_id = %(job)s AND a.row_no = r.row_no)
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored job, to be made known now that it is committed: by `notices` of its first chunks, or, where
    there are none, by a message to the planner."""

    job_id: int
    name: str
    rows: int
    worst_case_nanousd: int
    notices: list[ChunkNotice]


@dataclass(slots=True)
class _Ingest:
    """What is learnt of the rows while they stream by."""

    rows: int = 0
    cheapest_nanousd: int = 0
    affordable_rows: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    strata: dict[bytes, int] = field(default_factory=dict)
    same: SameRows = field(default_factory=SameRows)


def submit_job(
    engine: sa.Engine, spec: JobSpec, read: Reader, *, planner: Planner = PLANNER
) -> Submission:
    """Store a job: its rows, its account and, unless it is large, the chunks of its first wave.

    Args:
        read: Reads the data set, in order, and leaves out or raises for what `check` refuses
            (`functools.partial(read_records, path, …)`). An error that it raises leaves nothing stored.

    Raises:
        JobExistsError: The name is taken.
        BudgetError: The budget can't answer every row at worst case on its cheapest tier.
        DataError: A row can't be asked; names file and line.
    """
    with engine.begin() as connection:
        job_id = _insert_job(connection, spec)
        raw = raw_connection(connection)
        create_loading_table(raw, job_id)
        ingest = _Ingest()
        bounds = RowBounds(spec)
        _copy_rows(raw, job_id, _lines(spec, job_id, read, ingest, bounds))
        if ingest.rows == 0:
            raise DataError("there is not a single usable row", source=spec.data)
        require_columns(spec, ingest.columns)
        attach_partitions(raw, job_id)
        minimum_nanousd = ingest.cheapest_nanousd
        saves = spec.cache and _save(raw, job_id, spec, ingest, bounds)
        if saves:
            minimum_nanousd = _still_needed(raw, job_id)
        require_budget(
            spec,
            rows=ingest.rows,
            minimum_nanousd=minimum_nanousd,
            # Which of the rows can be afforded is not known where some of them cost nothing.
            affordable_rows=0 if saves else ingest.affordable_rows,
        )
        spec = spec.model_copy(update={"columns": tuple(ingest.columns)})
        connection.execute(
            sa.update(JOB)
            .where(JOB.c.job_id == job_id)
            .values(rows_total=ingest.rows, **_stored(spec))
        )
        create_result_view(
            raw,
            job_id=job_id,
            name=spec.name,
            columns=ingest.columns,
            json_schema=spec.output.json_schema,
        )
        open_account(
            connection,
            job_id=job_id,
            budget_nanousd=spec.budget_nanousd,
            ring_fence_nanousd=minimum_nanousd,
        )
        notices = []
        if ingest.rows <= PLAN_AT_ONCE_ROWS:
            notices = _release_first_wave(connection, spec, planner, taken=saves)
        notify_jobs_changed(connection)
    return Submission(job_id, spec.name, ingest.rows, minimum_nanousd, notices)


def _stored(spec: JobSpec) -> dict[str, object]:
    """The specification twice: to be asked of, and in its own order of keys, which jsonb does not keep."""
    stored = spec.model_dump(mode="json", by_alias=True, exclude={"notify"})
    return {"spec": stored, "spec_as_written": stored}


def _insert_job(connection: sa.Connection, spec: JobSpec) -> int:
    insert = sa.insert(JOB).values(name=spec.name, **_stored(spec)).returning(JOB.c.job_id)
    try:
        job_id: int = connection.execute(insert).scalar_one()
    except IntegrityError:
        raise JobExistsError(
            f"There is a job called {spec.name!r} already.",
            hint=f"Go on with it by `{command('resume', spec.name, call='resume()')}`, or choose another"
            f" {argument('name')}.",
        ) from None
    store_targets(connection, job_id, spec.notify)
    connection.execute(
        sa.insert(JOB_TIER),
        [
            {"job_id": job_id, "tier_no": no, "name": tier.name, "model": tier.model}
            for no, tier in enumerate(spec.tiers)
        ],
    )
    return job_id


def _save(raw: Raw, job_id: int, spec: JobSpec, ingest: _Ingest, bounds: RowBounds) -> bool:
    """Find what need not be bought; whether there is anything."""
    followers, leaders = ingest.same.find()
    ingest.same = SameRows()
    store_followers(raw, job_id, followers, leaders)
    for tier_no, (key_no, print_) in enumerate(
        zip(bounds.key_no, bounds.fingerprints(), strict=True)
    ):
        raw.execute(
            "UPDATE cascade_store.job_tier SET key_no = %s, fingerprint = %s"
            " WHERE job_id = %s AND tier_no = %s",
            [key_no, print_, job_id, tier_no],
        )
    taken = take_earlier_answers(raw, job_id, spec, days=settings().cache_days)
    return bool(followers.size or taken)


def _still_needed(raw: Raw, job_id: int) -> int:
    """Worst cases, each on its cheapest tier, of the rows that have to be asked."""
    found = raw.execute(_STILL_NEEDED, {"job": job_id}).fetchone()
    return int(str(found[0])) if found else 0


def _copy_rows(
    raw: psycopg.Connection[tuple[object, ...]], job_id: int, lines: Iterator[bytes]
) -> None:
    # FREEZE: the table was made in this transaction, so nobody can see its rows before the commit,
    # and a later vacuum need not write each page once more.
    statement = sql.SQL(
        "COPY {} (job_id, row_no, line_no, custom_id, gold, worst_nanousd, input, input_bytes, stratum,"
        " request_key)"
        " FROM STDIN (FREEZE)"
    ).format(sql.Identifier("cascade_store", f"row_{job_id}"))
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        block: list[bytes] = []
        size = 0
        for line in lines:
            block.append(line)
            size += len(line)
            if size >= _COPY_BLOCK_BYTES:
                copy.write(b"".join(block))
                block.clear()
                size = 0
        copy.write(b"".join(block))


def _lines(
    spec: JobSpec, job_id: int, read: Reader, ingest: _Ingest, bounds: RowBounds
) -> Iterator[bytes]:
    prefix = b"%d\t" % job_id
    form: list[object] = []
    for record in read(check=bounds.check):
        worst = bounds.worst_nanousd
        cheapest = min(worst)
        ingest.cheapest_nanousd += cheapest
        if ingest.cheapest_nanousd <= spec.budget_nanousd:
            ingest.affordable_rows = ingest.rows + 1
        # Most records have the columns of the one before, of the same types.
        if (form_now := [*record.fields, *map(type, record.fields.values())]) != form:
            _note_columns(ingest.columns, record.fields)
            form = form_now
        custom_id = record.custom_id if record.custom_id is not None else str(ingest.rows)
        gold = record.fields.get(spec.gold) if spec.gold else None
        stratum = 0
        if spec.strata is not None:
            group = orjson.dumps(record.fields.get(spec.strata), option=orjson.OPT_SORT_KEYS)
            stratum = ingest.strata.setdefault(group, len(ingest.strata))
        right = None if gold is None else _as_text(gold).encode()
        key = bounds.request_key
        if spec.cache:
            ingest.same.add(key, right, stratum)
        yield prefix + b"%d\t%d\t%s\t%s\t{%s}\t%s\t%d\t%d\t%s\n" % (
            ingest.rows,
            record.line_no,
            _escape(custom_id.encode()),
            rb"\N" if right is None else _escape(right),
            ",".join(map(str, worst)).encode(),
            orjson.dumps(record.fields).replace(b"\\", b"\\\\"),
            bounds.body_bytes[0],
            stratum,
            rb"\\x" + key.hex().encode() if key else rb"\N",
        )
        ingest.rows += 1
    for column, kind in ingest.columns.items():
        if kind == "null":
            ingest.columns[column] = "string"


def _note_columns(kinds: dict[str, str], fields: dict[str, object]) -> None:
    for column, value in fields.items():
        kind = _JSON_KIND.get(type(value), "json")
        known = kinds.get(column)
        if known is None or known == "null":
            kinds[column] = kind
        elif kind not in (known, "null"):
            kinds[column] = "json"


_JSON_KIND = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _as_text(gold: object) -> str:
    return gold if isinstance(gold, str) else orjson.dumps(gold).decode()


def _escape(text: bytes) -> bytes:
    return (
        text.replace(b"\\", b"\\\\")
        .replace(b"\t", b"\\t")
        .replace(b"\n", b"\\n")
        .replace(b"\r", b"\\r")
    )


def _release_first_wave(
    connection: sa.Connection, spec: JobSpec, planner: Planner, *, taken: bool
) -> list[ChunkNotice]:
    """Plan while the job is stored, so that workers begin at once. Nobody else can see it yet."""
    started = time.monotonic()
    job = find_job(connection, spec.name)
    raw = raw_connection(connection)
    known = JobEvidence(raw, job.job_id, job.spec)
    if taken:
        known.update(raw)
    no_tier_stopped = np.zeros(len(spec.tiers), dtype=np.bool_)
    balance = read_balance(connection, job.job_id)
    standing = standing_of(known, job.spec, no_tier_stopped, balance)
    wave = planner.plan_wave(standing.shown, spec.policy, seed=spec.seed, wave=1)
    wave = standing.of_all(wave)
    write_decisions(connection, job.job_id, 1, wave)
    new_chunks, notices = release_wave(connection, job, standing, wave)
    took_s = time.monotonic() - started
    note_planning(connection, job, calls=0, open_chunks=new_chunks, took_s=took_s)
    return notices
