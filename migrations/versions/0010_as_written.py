"""Specifications in the order in which they were written; dollars with nine decimals."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0010_as_written.sql").read_text("utf-8"))


def downgrade() -> None:
    """Jobs forget the order of their keys."""
    op.get_bind().exec_driver_sql(
        """
        ALTER TABLE cascade_store.job DROP COLUMN spec_as_written;
        CREATE OR REPLACE FUNCTION cascade.usd(nanousd bigint) RETURNS numeric
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT nanousd::numeric / 1000000000 $$;
        """
    )
