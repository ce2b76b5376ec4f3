"""The reference of the public views, made of a database's own comments by `make docs-sql`."""

from __future__ import annotations

import sys

import psycopg

_VIEWS = (
    "jobs",
    "results",
    "rows",
    "answers",
    "verdicts",
    "calls_by_tier",
    "decisions",
    "waves",
    "ledger",
)
"""In this order; others follow."""
_COLUMNS = """
SELECT c.relname, obj_description(c.oid), a.attname, format_type(a.atttypid, a.atttypmod),
       col_description(c.oid, a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'cascade'::regnamespace AND c.relkind = 'v'
 ORDER BY array_position(%s, c.relname::text), c.relname, a.attnum
"""
_HEAD = """\
# SQL views

The schema `cascade` has the views of all jobs; `results."JOB"` is a view of one job, with its input and typed
answers: [Results in SQL](../results-in-sql.md). Both are public: they change with a migration and an entry of
the [changelog](../../CHANGELOG.md) only. `cascade-batch sql` asks them, as does any Postgres client
(`cascade-batch sql --url`). The tables behind them, in `cascade_store`, change with every version.
"""


def sql_page(url: str) -> str:
    """The page.

    Args:
        url: A database at this version's schema.
    """
    lines = [_HEAD]
    shown = None
    with psycopg.connect(url) as connection:
        for view, about, column, kind, text in connection.execute(_COLUMNS, [list(_VIEWS)]):
            if view != shown:
                lines += [
                    "",
                    f"## `cascade.{view}`\n",
                    f"{about}\n",
                    "| column | type | |",
                    "|---|---|---|",
                ]
                shown = view
            lines.append(f"| `{column}` | {kind} | {text or ''} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(sql_page(sys.argv[1]))
