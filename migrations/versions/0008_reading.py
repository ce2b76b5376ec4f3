"""A role that reads the public views and nothing else; result views that read only what a query asks for."""

import re
from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((SQL / "0008_reading.sql").read_text("utf-8"))


# The query of a job's view goes back into the function that it came from.
_VIEWS_READ_THE_FUNCTION = r"""
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT c.relname, d.query, substring(d.query FROM 'WHERE \(r\.job_id = (\d+)\)\) s') AS job
               FROM pg_class c CROSS JOIN LATERAL pg_get_viewdef(c.oid) AS d(query)
              WHERE c.relnamespace = 'results'::regnamespace AND c.relkind = 'v'
    LOOP
        IF v.job IS NOT NULL THEN
            EXECUTE 'CREATE OR REPLACE VIEW results.' || quote_ident(v.relname) || ' AS ' || regexp_replace(
                v.query,
                '^(.*) FROM \(\( SELECT r\.row_no,.*\)'
                    ' s((\([a-z_, ]+\))?\s+LEFT JOIN cascade_store\.job_tier t.*)$',
                '\1 FROM (cascade_store.standing(' || v.job || ') s\2');
        END IF;
    END LOOP;
END $$;
"""


def downgrade() -> None:
    """Jobs keep their views. The role stays as well: other databases of the server may have it, too."""
    connection = op.get_bind()
    connection.exec_driver_sql(_VIEWS_READ_THE_FUNCTION)
    connection.exec_driver_sql(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cascade_reader') THEN
                ALTER DEFAULT PRIVILEGES IN SCHEMA cascade REVOKE SELECT ON TABLES FROM cascade_reader;
                ALTER DEFAULT PRIVILEGES IN SCHEMA results REVOKE SELECT ON TABLES FROM cascade_reader;
                REVOKE SELECT ON ALL TABLES IN SCHEMA cascade, results FROM cascade_reader;
                REVOKE USAGE ON SCHEMA cascade, results FROM cascade_reader;
            END IF;
        END $$;
        DROP FUNCTION cascade_store.open_to_readers, cascade_store.standing_query;
        """
    )
    standing = re.findall(
        r"^CREATE OR REPLACE FUNCTION cascade_store\.standing.*?^\$\$;",
        (SQL / "0003_views.sql").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    connection.exec_driver_sql(standing[-1])
    views = (SQL / "0001_views.sql").read_text("utf-8")
    connection.exec_driver_sql(
        "CREATE OR REPLACE VIEW" + views[views.index(" cascade.results AS") :]
    )
