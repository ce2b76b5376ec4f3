"""How many answers of a finished job do not fit its output."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0012_unfit.sql").read_text("utf-8"))


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE cascade_store.job DROP COLUMN rows_unfit")
