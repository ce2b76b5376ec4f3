"""The public views say what they hold, and the documentation's reference says the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[3]
_MUTE = """
SELECT format('%I.%I', c.relname, a.attname)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'cascade'::regnamespace AND c.relkind = 'v'
   AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
"""


def test_every_public_column_has_a_comment(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        mute = [name for (name,) in connection.execute(_MUTE)]
    assert not mute, f"say what these hold, by COMMENT ON COLUMN in a migration: {mute}"


def test_the_reference_is_what_the_database_says(fresh_database: str) -> None:
    spec = importlib.util.spec_from_file_location(
        "sql_views", ROOT / "docs" / "hooks" / "sql_views.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = ROOT / "docs" / "reference" / "sql.md"
    assert page.read_text("utf-8") == module.sql_page(fresh_database), (
        "docs/reference/sql.md is not current: write it anew by `make docs-sql`, and commit it"
    )
