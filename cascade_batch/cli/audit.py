"""`cascade-batch audit`: re-add a job's ledger."""

from __future__ import annotations

from dataclasses import asdict

import click

from cascade_batch.cli.frame import EXIT_FAILED, Command
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json
from cascade_batch.client.services import services
from cascade_batch.domain.money import usd_to_nanousd
from cascade_batch.errors import UsageError


@click.command(cls=Command)
@job_argument
@click.option("--bill", metavar="USD", help="Hold it against what the providers billed.")
@json_option
@click.pass_context
def audit(ctx: click.Context, job: str, bill: str | None, as_json: bool) -> None:
    """Add a job's ledger up again and hold it against the answers, the leases and the rows.

    Prints OK and exits with 0 if everything agrees, else says what differs and exits with 1.

    \b
    Examples:
      cascade-batch audit headlines
      cascade-batch audit headlines --bill 4.9731
    """
    from cascade_batch.client.audit import audit_of
    from cascade_batch.client.reading import read_audit

    try:
        bill_nanousd = None if bill is None else usd_to_nanousd(bill)
    except ValueError as error:
        raise UsageError(f"--bill: {error}.", hint="Write dollars, for example 12.50.") from None
    with services() as service:
        report, lost = read_audit(service.engine, job, bill_nanousd=bill_nanousd)
    if as_json:
        print_json(
            {
                "name": job,
                "ok": report.is_ok,
                "differences": report.differences,
                "rows": report.rows,
                "answers": report.answers,
                "verdicts": report.verdicts,
                "entries": report.entries,
                **asdict(report.balance),
                "at_risk_calls": [asdict(one) for one in lost],
            }
        )
    else:
        click.echo(str(audit_of(job, report, lost)))
    ctx.exit(0 if report.is_ok else EXIT_FAILED)
