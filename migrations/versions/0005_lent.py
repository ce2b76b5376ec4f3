"""What calls in flight took out of the ring fence is kept free once more, to ask their rows again."""

import re
from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    # Turns that are under way end first, and no other begins: what is lent is added up once.
    op.execute("LOCK TABLE cascade_store.chunk, cascade_store.balance IN ACCESS EXCLUSIVE MODE")
    op.get_bind().exec_driver_sql((SQL / "0005_lent.sql").read_text("utf-8"))


def downgrade() -> None:
    functions = (SQL / "0003_functions.sql").read_text("utf-8")
    before = functions[functions.index("-- One turn of a worker") :]
    op.get_bind().exec_driver_sql(
        re.sub(r"^CREATE FUNCTION ", "CREATE OR REPLACE FUNCTION ", before, flags=re.MULTILINE)
    )
    op.drop_column("balance", "lent_nanousd", schema="cascade_store")
