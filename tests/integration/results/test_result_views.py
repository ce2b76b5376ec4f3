"""`results."JOB"`: a table that a person would have drawn, for whoever may read and nobody else."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from uuid import uuid4

import psycopg
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import make_url

from cascade_batch.cli.sql_session import columns_of
from cascade_batch.engine.jobs import find_job
from cascade_batch.results import export_job
from cascade_batch.store import migrate
from cascade_batch.store.engine import make_engine, raw_connection
from cascade_batch.store.reader import reader_url
from cascade_batch.store.result_view import create_result_view
from tests.integration.engine.bench import Bench, provider

ROOMY = {"max_output_tokens": 64}
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["up", "down"]},
        "score": {"type": "integer"},
        "sure": {"type": "boolean"},
        "words": {"type": "array", "items": {"type": ["string", "null"]}},
        "scores": {"type": "array", "items": {"$ref": "#/$defs/Number"}},
        "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        "status": {"type": "string"},
    },
    "$defs": {
        "Number": {"type": "number"},
        "Place": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "at": {"type": "object", "properties": {"lat": {"type": "number"}}},
                "label": {"type": "string"},
                "people": {"type": "array", "items": {"type": "object"}},
            },
        },
    },
}
ANSWER = (
    '{"label": "up", "score": 3, "sure": true, "words": ["gold", null], "scores": [1, 2.5],'
    ' "place": {"city": "Bern", "at": {"lat": 46.9}, "people": [{"n": 1}]}, "status": "fine"}'
)


def types_of(bench: Bench, view: str) -> dict[str, str]:
    rows = bench.all(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass('results.' || quote_ident(:view)) AND attnum > 0 ORDER BY attnum",
        view=view,
    )
    return dict(rows)


async def test_parts_of_the_answer_are_columns_of_their_types(bench, read, tmp_path):
    async with provider(small={"answers": [{"match": ".", "text": ANSWER}]}) as served:
        tiers = [bench.tier(served, "small", max_output_tokens=200)]
        rows = [{"text": "hello", "label": "gold's own", "n": 2, "tags": ["a"]}]
        job = bench.submit(tiers, rows, output={"schema": SCHEMA}, name="typed")
        await bench.run(job, tiers)

    assert types_of(bench, "typed") == {
        "row_no": "integer", "custom_id": "text",
        "text": "text", "label": "text", "n": "numeric", "tags": "jsonb",
        "answer": "text", "value": "jsonb",
        "answer_label": "text", "score": "numeric", "sure": "boolean", "words": "text[]",
        "scores": "numeric[]",
        "place": "jsonb", "place_city": "text", "place_at_lat": "numeric", "place_label": "text",
        "place_people": "jsonb",
        "answer_status": "text",
        "tier": "text", "quality": "real", "cost_usd": "numeric", "status": "text", "error": "text",
    }  # fmt: skip
    (found,) = read("SELECT * FROM results.typed")
    (shown,) = read("SELECT cost_usd::text FROM results.typed")
    assert re.fullmatch(r"0\.\d{9}", shown["cost_usd"])
    assert (found["label"], found["answer_label"]) == ("gold's own", "up")
    assert (found["status"], found["answer_status"]) == ("answered", "fine")
    assert found["words"] == ["gold", None]
    assert found["scores"] == [Decimal(1), Decimal("2.5")]
    assert found["place"]["at"] == {"lat": 46.9}
    assert (found["place_city"], found["place_at_lat"]) == ("Bern", Decimal("46.9"))
    assert (found["place_label"], found["place_people"]) == (None, [{"n": 1}])
    comment = bench.one(
        "SELECT col_description('results.typed'::regclass, attnum) FROM pg_attribute"
        " WHERE attrelid = 'results.typed'::regclass AND attname = 'answer_label'"
    )
    assert comment == "field 'label' of the answer"

    with bench.engine.connect() as connection:
        spec = bench.one("SELECT spec FROM cascade_store.job WHERE name = 'typed'")
        assert spec["output"]["schema"] == SCHEMA
        job = find_job(connection, "typed")
        done = export_job(connection, job.job_id, tmp_path / "typed.parquet", job.spec)
        for ending in ("parquet", "csv", "jsonl"):
            path = tmp_path / f"with.{ending}"
            export_job(connection, job.job_id, path, job.spec, with_input=True)
    assert (done.rows, done.failed) == (1, 0)
    table = pq.read_table(tmp_path / "typed.parquet")
    # In the schema's order, as in the view, and not in that of the database, which keeps none.
    assert [name for name in table.column_names if not name.startswith("place_")][9:] == [
        "label", "score", "sure", "words", "scores", "place", "answer_status",
    ]  # fmt: skip
    value = json.loads(table.column("value").to_pylist()[0])
    assert list(value) == list(SCHEMA["properties"])
    assert list(value["place"]) == ["city", "at", "people"]
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert kinds["score"] == "int64"
    assert kinds["scores"] == "list<element: double>"
    assert (kinds["words"], kinds["sure"]) == ("list<element: string>", "bool")
    assert table.column("place_city").to_pylist() == ["Bern"]
    assert table.column("scores").to_pylist() == [[1.0, 2.5]]
    # There is no column of the input that the field would have to give way to.
    assert table.column("label").to_pylist() == ["up"]
    # With the input, the file is the view: its names, its order.
    table = pq.read_table(tmp_path / "with.parquet")
    assert table.column_names == list(found)
    assert table.column("label").to_pylist() == ["gold's own"]
    assert table.column("answer_label").to_pylist() == ["up"]
    (line,) = map(json.loads, (tmp_path / "with.jsonl").read_text().splitlines())
    header = (tmp_path / "with.csv").read_text().splitlines()[0].split(",")
    assert list(line) == header == [name for name in found if name in header]
    assert line["label"] == "gold's own"
    assert line["value"]["label"] == "up"


def test_who_gets_a_name_is_the_same_every_time(bench):
    properties = {"x" * 70: {"type": "string"}, "x" * 69: {"type": "string"}, "a_b": {"type": "number"},
                  "a": {"type": "object", "properties": {"b": {"type": "boolean"}}},
                  "value": {"type": "string"}, "self": {"$ref": "#"}}  # fmt: skip
    columns = {"a_b": "string", "answer_a_b": "string", "quality": "number", "x" * 80: "string"}
    seen = []
    for view in ("names 1", "names 2"):
        with bench.engine.begin() as connection:
            create_result_view(
                raw_connection(connection),
                job_id=10**6,
                name=view,
                columns=columns,
                json_schema={"type": "object", "properties": properties},
            )
        seen.append(types_of(bench, view))

    assert seen[0] == seen[1]
    names = list(seen[0])
    assert len(set(names)) == len(names) < 1600
    assert all(len(name.encode()) <= 63 for name in names)
    # First the view's own names, then the input's, then the fields of the answer, then what lies below.
    assert names[:6] == ["row_no", "custom_id", "a_b", "answer_a_b", "input_quality", "x" * 63]
    assert names[6:8] == ["answer", "value"]
    assert seen[0]["value"] == "jsonb"
    assert seen[0]["answer_a_b_2"] == "numeric"
    assert seen[0]["answer_a_b_3"] == "boolean"
    assert ("answer_" + "x" * 80)[:63] in names
    assert "answer_value" in names


@pytest.mark.parametrize(
    ("output", "kind"),
    [({"choices": ["up", "down"]}, "text"), ({"schema": {"type": "integer"}}, "numeric"),
     ({"schema": {"type": "array", "items": {"type": "boolean"}}}, "boolean[]"), ({}, "text")],
)  # fmt: skip
def test_the_value_itself_has_the_type_of_the_output(bench, output, kind):
    job = bench.submit([bench.tier(None, "none", base_url="http://127.0.0.1:1")], 1, output=output)

    assert types_of(bench, job)["value"] == kind


async def test_a_running_job_is_read_as_it_stands(bench, read):
    async with provider(small=True) as served:
        tiers = [bench.tier(served, "small", **ROOMY)]
        job = bench.submit(tiers, 9, chunk_rows=3, name="running")
        bench.hold_back(job, 1)
        async with bench.worker(tiers) as worker:
            await worker.drive()
            states = read("SELECT status, count(*) AS n FROM running GROUP BY 1 ORDER BY 1")
            assert states == [{"status": "answered", "n": 6}, {"status": "pending", "n": 3}]
            await bench.finish(job, worker)
    assert read("SELECT count(*) AS n FROM running WHERE value = text") == [{"n": 9}]
    told = read("SELECT status, answer FROM cascade.results WHERE job = 'running' AND row_no = 4")
    assert told == [{"status": "answered", "answer": "row 4"}]


def test_what_a_query_does_not_want_is_not_read(bench):
    """However many answers there are, to count rows or to list the input takes none of them."""
    job = bench.submit([bench.tier(None, "none", base_url="http://127.0.0.1:1")], 3, name="cheap")
    plan = "\n".join(row[0] for row in bench.all(f"EXPLAIN SELECT text FROM results.{job}"))

    assert "row_" in plan
    assert "answer_" not in plan
    assert "choice_" not in plan


@pytest.mark.parametrize(
    "query",
    ["SELECT * FROM cascade_store.job", "SELECT * FROM cascade_store.standing(1)",
     "DROP VIEW results.cheap", "DELETE FROM cascade_store.job", "CREATE TABLE results.mine (x int)",
     "CREATE TABLE public.mine (x int)", "SELECT pg_read_file('/etc/passwd')"],
)  # fmt: skip
def test_the_reader_sees_the_public_schemas_and_nothing_else(bench, read, query):
    bench.submit([bench.tier(None, "none", base_url="http://127.0.0.1:1")], 1)
    assert read("SELECT count(*) > 0 AS some FROM cascade.jobs") == [{"some": True}]

    with pytest.raises(
        (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
    ):
        read("SET default_transaction_read_only = off; " + query)


def test_every_public_view_can_be_read_by_the_reader(bench, read):
    views = bench.all(
        "SELECT table_schema || '.' || table_name FROM information_schema.views"
        " WHERE table_schema = 'cascade'"
    )
    assert len(views) >= 9
    for (view,) in views:
        read(f"SELECT * FROM {view} LIMIT 1")


def test_views_of_jobs_that_another_account_submits_can_be_read_by_the_reader(bench, read):
    """What its owner makes is opened by default; what others make is not."""
    account = f"submitter_{uuid4().hex}"
    bench.execute(f"CREATE ROLE {account} SUPERUSER")
    try:
        url = make_url(bench.database_url).update_query_dict({"options": f"-crole={account}"})
        other = Bench(url.render_as_string(hide_password=False))
        tiers = [other.tier(None, "none", base_url="http://127.0.0.1:1")]
        other.submit(tiers, 2, name="of another account")
        other.engine.dispose()
        assert read('SELECT count(*) AS rows FROM "of another account"') == [{"rows": 2}]
    finally:
        bench.execute(f"REASSIGN OWNED BY {account} TO CURRENT_USER")
        bench.execute(f"DROP OWNED BY {account}")
        bench.execute(f"DROP ROLE {account}")


def definitions(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(
        sa.text(
            "SELECT relname, pg_get_viewdef(oid) FROM pg_class"
            " WHERE relnamespace = 'results'::regnamespace"
        )
    )
    return {row[0]: row[1] for row in rows}


def test_views_of_jobs_go_through_the_migration_and_back(empty_database):
    engine = make_engine(empty_database)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        create_result_view(
            raw_connection(connection),
            job_id=12,
            name="new",
            columns={"a  b') s FROM (( SELECT r.row_no,": "string"},
            json_schema=SCHEMA,
        )
        before = columns_of(raw_connection(connection), "new")
        config = migrate._config()
        config.attributes["connection"] = connection
        try:
            command.downgrade(config, "0007")
            assert "cascade_store.standing(12)" in definitions(connection)["new"]
            connection.execute(
                sa.text(
                    'CREATE VIEW results."it\'s old" AS SELECT s.row_no, s.answer, t.name AS tier'
                    "  FROM cascade_store.standing(3) s LEFT JOIN cascade_store.job_tier t"
                    "    ON t.job_id = 3 AND t.tier_no = s.tier_no"
                )
            )
            command.upgrade(config, "head")
        finally:
            config.attributes.pop("connection")
        after = definitions(connection)
        assert not any("standing(" in query for query in after.values())
        assert columns_of(raw_connection(connection), "new") == before
        connection.commit()
    engine.dispose()
    with psycopg.connect(reader_url(empty_database)) as connection:
        cursor = connection.execute('SELECT * FROM results."it\'s old"')
        assert [column.name for column in cursor.description or ()] == ["row_no", "answer", "tier"]
        connection.execute("SELECT * FROM new")
