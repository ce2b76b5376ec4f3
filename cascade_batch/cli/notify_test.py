"""`cascade-batch notify-test`: does a receiver take messages?"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cascade_batch.cli.frame import EXIT_FAILED, Command, warn
from cascade_batch.cli.given import check_file
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    from cascade_batch.domain.notify import NotifyTarget


@click.command(name="notify-test", cls=Command)
@click.argument("url", required=False, metavar="[URL|env:NAME]")
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path),
    callback=check_file,
    metavar="FILE",
    help="Send to those that a job file names under notify.",
)
@click.option(
    "--secret-env",
    metavar="NAME",
    help="Sign with the secret in this variable (CASCADE_NOTIFY_SECRET, if it is set).",
)
@json_option
@click.pass_context
def notify_test(
    ctx: click.Context,
    url: str | None,
    job_file: Path | None,
    secret_env: str | None,
    as_json: bool,
) -> None:
    """Send one message of the type job.test, from here and at once, and say what the receiver said.

    It is made and signed as messages about jobs are. Those are sent by the sweeper, from where it runs
    and with its environment. Exits with 1 if a receiver did not take it.

    \b
    Examples:
      cascade-batch notify-test http://localhost:8080/hook
      cascade-batch notify-test env:SLACK_URL
      cascade-batch notify-test --job job.yaml
    """
    from cascade_batch.engine.notify_files import notify_warnings
    from cascade_batch.notifications.addresses import AllowedHosts
    from cascade_batch.notifications.message import Message
    from cascade_batch.notifications.sending import send_now
    from cascade_batch.settings import settings

    targets = _targets(url, job_file, secret_env)
    for warning in notify_warnings(targets):
        warn(warning)
    messages = [
        Message(f"msg_{uuid.uuid4().hex}", target.url, target.secret_env, _body())
        for target in targets
    ]
    outcomes = send_now(messages, os.environ.get, AllowedHosts(settings().notify_allow))
    told = [
        {
            "target": target.shown,
            "delivered": outcome.error is None,
            "signed": target.secret_env is not None,
            "error": outcome.error,
        }
        for target, outcome in zip(targets, outcomes, strict=True)
    ]
    if as_json:
        print_json(told)
    else:
        print_table(
            ["", "Receiver", "Signed", "Said"],
            [
                [
                    "ok" if one["delivered"] else "FAIL",
                    str(one["target"]),
                    "yes" if one["signed"] else "no",
                    str(one["error"] or "taken"),
                ]
                for one in told
            ],
        )
    ctx.exit(0 if all(one["delivered"] for one in told) else EXIT_FAILED)


def _targets(
    url: str | None, job_file: Path | None, secret_env: str | None
) -> tuple[NotifyTarget, ...]:
    from cascade_batch.engine.notify_files import NotifyOption, make_targets
    from cascade_batch.engine.spec_files import read_targets

    if (url is None) == (job_file is None):
        raise UsageError("Give the address of a receiver, or a job file by --job; one of them.")
    if job_file is not None:
        targets = read_targets(job_file)
        if not targets:
            raise UsageError(f"{job_file}: nobody is to be told; there is no key notify.")
        return targets
    return make_targets(NotifyOption(), {"url": url, "secret_env": secret_env})


def _body() -> str:
    import orjson

    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = "A test: messages about jobs will look like this."
    return orjson.dumps({"type": "job.test", "timestamp": now, "text": text, "data": {}}).decode()
