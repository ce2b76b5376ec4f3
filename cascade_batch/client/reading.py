"""What is asked about a job in one go: its status, its audit, its report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cascade_batch.client.expectation import next_money_text
from cascade_batch.engine.frontier import job_frontier
from cascade_batch.engine.jobs import find_job, require_kept
from cascade_batch.engine.status import job_status
from cascade_batch.errors import UsageError
from cascade_batch.ledger import AuditReport, LostMoney, audit_job, sum_write_offs


def read_status(engine: sa.Engine, name: str) -> dict[str, Any]:
    """The job as `job_status` gives it.

    Raises:
        JobNotFoundError: There is no such job.
    """
    with engine.connect() as connection:
        return job_status(connection, name)


def read_audit(
    engine: sa.Engine, name: str, *, bill_nanousd: int | None = None
) -> tuple[AuditReport, list[LostMoney]]:
    """Add a job's ledger up again, and say which calls are at risk.

    Args:
        bill_nanousd: What the providers billed for it, if that is known.

    Raises:
        JobNotFoundError: There is no such job.
        UsageError: It is being deleted: what is gone of it can't be held against the rest.
    """
    with engine.connect() as connection:
        job_id = require_kept(find_job(connection, name)).job_id
    # The audit sets its own isolation level, which only a fresh transaction can take.
    with engine.connect() as connection:
        report = audit_job(connection, job_id, bill_nanousd=bill_nanousd)
        return report, sum_write_offs(connection, job_id)


def read_page(engine: sa.Engine, name: str) -> str:
    """The job's report: one page of HTML, made from what is known now.

    Raises:
        JobNotFoundError: There is no such job.
    """
    from cascade_batch.results.report import Subject, read_facts, render_page

    found = job_frontier(engine, name)
    # With fewer points there is nothing to draw.
    frontier = found if len(found["points"]) > 1 else None
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        job = find_job(connection, name)
        status = job_status(connection, name)
        facts = read_facts(connection, job.job_id)
    more = None
    if frontier is not None and frontier["policy"] == "auto":
        more = next_money_text(frontier, status["name"], status["budget_nanousd"])
    return render_page(Subject(status, frontier, more), facts)


def require_html(path: Path) -> None:
    """A page under another ending would be opened by the wrong program, or by none.

    Raises:
        UsageError: The ending is neither .html nor .htm.
    """
    if path.suffix.lower() in (".html", ".htm"):
        return
    hint = f"Write to {path.with_suffix('.html') if path.name else 'report.html'}"
    if path.suffix.lower() == ".pdf":
        hint += ", and print that to a PDF from a browser"
    raise UsageError(f"{path}: a report is a page of HTML, .html or .htm.", hint=f"{hint}.")


def write_page(page: str, path: Path) -> None:
    """Write a report; it appears whole or not at all.

    Raises:
        UsageError: The folder is missing, or the ending is not that of a page.
        CascadeError: The file could not be written.
    """
    from cascade_batch.results.files import whole_file

    require_html(path)
    with whole_file(path, "the job is") as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def page_path(name: str) -> Path:
    """Where a job's report goes if nobody says: its name, as far as files can have it."""
    return Path(re.sub(r"[^\w.-]+", "-", name).strip(".-") + ".html")
