"""Messages about jobs: who wants them, and what is still to be sent."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    text = (SQL / "0007_notifications.sql").read_text("utf-8")
    # The driver takes a percent sign for the start of a parameter.
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def downgrade() -> None:
    """Messages that were not sent are lost."""
    op.get_bind().exec_driver_sql(
        """
        DROP VIEW cascade.notifications;
        DROP TRIGGER note_state ON cascade_store.job;
        DROP FUNCTION cascade_store.note_state, cascade_store.note_shares, cascade_store.notice_body,
            cascade_store.new_webhook_id;
        DROP TABLE cascade_store.notification, cascade_store.notify_target;
        """
    )
