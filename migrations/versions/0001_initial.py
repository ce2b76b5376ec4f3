"""The tables, the ledger's functions and the public views.

Written in SQL, in files beside this one: the functions are the ledger's hot path, and SQL is what
is measured and read there. A test holds the result against the models in `cascade_batch.store`.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    for part in ("tables", "functions", "views"):
        op.get_bind().exec_driver_sql((SQL / f"0001_{part}.sql").read_text("utf-8"))


def downgrade() -> None:
    for schema in ("results", "cascade", "cascade_store"):
        op.get_bind().exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
