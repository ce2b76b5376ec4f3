"""What comes after a job's end: the last answers of rows that others follow, and its deletion."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0011_endings.sql").read_text("utf-8"))


def downgrade() -> None:
    """A job whose deletion was begun is one like others again, without its rows: delete it first."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE cascade_store.job DROP COLUMN followed_at, DROP COLUMN deleting"
    )
