"""`cascade-batch watch`: follow a job."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json
from cascade_batch.client.services import services


@click.command(cls=Command)
@job_argument
@json_option
@click.pass_context
def watch(ctx: click.Context, job: str, as_json: bool) -> None:
    """Follow a job until it is over: its progress, its money, its tiers, the time left.

    Leaving by Ctrl-C leaves the job alone. With --json, the last status is printed at the end. Where
    nothing can be redrawn (a pipe, TERM=dumb, CI), plain lines are written now and then.

    \b
    Examples:
      cascade-batch watch headlines
      cascade-batch watch headlines && cascade-batch results headlines -o headlines.csv
    """
    from cascade_batch.cli.following import follow_job

    with services() as service:
        code, last = follow_job(service, job)
    if as_json and last is not None:
        print_json(last)
    ctx.exit(code)
