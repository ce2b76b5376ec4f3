"""Jobs whose data set is still being read while their first rows are drafted."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0013_reading.sql").read_text("utf-8"))


def downgrade() -> None:
    """A job that is being read would be planned half-read: wait for it first."""
    op.get_bind().exec_driver_sql("ALTER TABLE cascade_store.job DROP COLUMN reading")
