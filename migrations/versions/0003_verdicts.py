"""Evidence that is bought: verdicts of a judge tier, and a tier's second answer.

Jobs that are there already get a partition for their verdicts and go on.
"""

import re
from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    for part in ("tables", "functions", "views"):
        op.get_bind().exec_driver_sql((SQL / f"0003_{part}.sql").read_text("utf-8"))


def downgrade() -> None:
    """Verdicts are lost, and with them the proof of what they cost: audits will differ."""
    connection = op.get_bind()
    connection.exec_driver_sql(
        """
        DROP VIEW cascade.verdicts, cascade.answers, cascade.calls_by_tier;
        DROP FUNCTION cascade_store.affordable, cascade_store.claim, cascade_store.turn,
            cascade_store.expire_leases;
        """
    )
    connection.exec_driver_sql((SQL / "0001_functions.sql").read_text("utf-8"))
    views = (SQL / "0001_views.sql").read_text("utf-8")
    # Others depend on those that did not change: they stay, and are defined as they are.
    connection.exec_driver_sql(
        re.sub(r"^CREATE (VIEW|FUNCTION) ", r"CREATE OR REPLACE \1 ", views, flags=re.MULTILINE)
    )
    connection.exec_driver_sql(
        """
        DROP TABLE cascade_store.verdict;
        ALTER TABLE cascade_store.job_tier DROP COLUMN verdicts;
        ALTER TABLE cascade_store.answer DROP COLUMN matches_gold, DROP COLUMN value_key;
        ALTER TABLE cascade_store.chunk DROP COLUMN judged_tier_no, DROP COLUMN in_flight_nanousd;
        """
    )
