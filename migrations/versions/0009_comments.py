"""Comments on the public views and their columns."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0009_comments.sql").read_text("utf-8"))


def downgrade() -> None:
    """Comments stay: they do no harm."""
