"""Answers that need not be bought: duplicates within a job, and what earlier jobs asked already.

Jobs that are there already get a partition for their duplicates, and have none.
"""

import re
from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"
_CHANGED_VIEWS = ("jobs", "answers", "calls_by_tier")


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0006_cache.sql").read_text("utf-8"))


def downgrade() -> None:
    """Answers that nobody paid for stay, as answers that cost nothing."""
    connection = op.get_bind()
    names = ", ".join(f"cascade.{view}" for view in _CHANGED_VIEWS)
    connection.exec_driver_sql(f"DROP VIEW {names}")
    # The newest definition of each before this one.
    views = "".join((SQL / f"{no}_views.sql").read_text("utf-8") for no in ("0001", "0003"))
    for view in _CHANGED_VIEWS:
        found = re.findall(
            rf"^CREATE (?:OR REPLACE )?VIEW cascade\.{view} AS.*?;", views, re.MULTILINE | re.DOTALL
        )
        connection.exec_driver_sql(found[-1])
    connection.exec_driver_sql(
        """
        DROP TABLE cascade_store.follower;
        ALTER TABLE cascade_store.job DROP COLUMN saved_nanousd, DROP COLUMN rows_duplicate;
        ALTER TABLE cascade_store.job_tier
            DROP COLUMN key_no, DROP COLUMN fingerprint, DROP COLUMN cached;
        ALTER TABLE cascade_store.answer DROP COLUMN saved_nanousd;
        ALTER TABLE cascade_store.row DROP COLUMN request_key;
        """
    )
