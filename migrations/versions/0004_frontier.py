"""The frontier of a finished job: expected quality at other budgets. Jobs that finished before have none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("frontier", JSONB), schema="cascade_store")


def downgrade() -> None:
    op.drop_column("job", "frontier", schema="cascade_store")
