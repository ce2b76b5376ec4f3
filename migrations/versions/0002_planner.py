"""Waves and decisions: what the planner decided, and why.

Jobs that are there already get a partition for their decisions and go on; what was decided before is not
told of.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0002_planner.sql").read_text("utf-8"))


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """
        DROP VIEW cascade.decisions, cascade.waves;
        ALTER TABLE cascade_store.chunk
            DROP COLUMN action, DROP COLUMN sample_no, DROP COLUMN promised_nanousd,
            DROP COLUMN fence_parts;
        ALTER TABLE cascade_store.row DROP COLUMN input_bytes, DROP COLUMN stratum;
        ALTER TABLE cascade_store.job
            DROP COLUMN labels, DROP COLUMN plan_below, DROP COLUMN plan_not_before,
            DROP COLUMN plan_generation;
        DROP TABLE cascade_store.decision, cascade_store.wave;
        """
    )
