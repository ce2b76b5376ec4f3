"""`cascade-batch reconcile`: hold write-offs against the provider's invoice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import job_argument, json_option
from cascade_batch.cli.output import print_json, print_table, usd
from cascade_batch.client.services import account_name, services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.money import format_usd
from cascade_batch.errors import UsageError

if TYPE_CHECKING:
    from cascade_batch.ledger import Balance, WriteOff

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_SHOWN = 50


@click.command(cls=Command)
@job_argument
@click.option("--call", "calls", type=int, multiple=True, help="Release this call; repeatable.")
@click.option("--tier", "tiers", multiple=True, help="Look at this tier only; repeatable.")
@click.option("--since", type=click.DateTime(_TIMES), help="Look at calls lost from then on (UTC).")
@click.option("--until", type=click.DateTime(_TIMES), help="Look at calls lost before then (UTC).")
@click.option("--release", is_flag=True, help="Release all that are looked at.")
@click.option("--because", metavar="TEXT", help="Say what proves it, such as the invoice's number.")
@click.option(
    "--by", metavar="NAME", help="Say who decides it (your account's name, if not given)."
)
@click.option("--yes", is_flag=True, help="Release without asking.")
@json_option
def reconcile(
    job: str,
    calls: tuple[int, ...],
    tiers: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    release: bool,
    because: str | None,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the calls of a job whose end is unknown, or release the money that is held for them.

    A call that was cut off may have been billed, so its worst case stays at risk. If the provider's invoice
    proves that it was not, --release gives the money back to the job, with your name and reason in the
    ledger. If it was billed after all, the bill may exceed the budget by as much: only you can know.

    \b
    Examples:
      cascade-batch reconcile headlines
      cascade-batch reconcile headlines --tier large --release --because "invoice 2026-11"
    """
    from cascade_batch.engine import control
    from cascade_batch.engine.jobs import find_job
    from cascade_batch.ledger import Selection, list_write_offs, read_balance

    selection = Selection(calls, tiers, _utc(since), _utc(until))
    with services() as service:
        with service.engine.connect() as connection:
            job_id = find_job(connection, job).job_id
            found = list_write_offs(connection, job_id, selection)
            balance = read_balance(connection, job_id)
        if not release:
            _show(job, found, balance, as_json=as_json)
            return
        if not because:
            raise UsageError(
                "--release needs a reason.", hint='Say what proves it: --because "invoice 2026-11".'
            )
        actor = by or account_name()
        if actor is None:
            raise UsageError("This account has no name.", hint="Give yours: --by NAME.")
        amount = sum(one.amount_nanousd for one in found)
        if found and not yes:
            click.confirm(
                f"Release {format_usd(amount)} of {len(found):,} calls of job {job!r}?",
                abort=True,
                err=True,
            )
        done, amount, balance = control.reconcile(
            service.engine, job, selection, service.publisher(), actor=actor, reason=because
        )
        service.wake(job)
    if as_json:
        print_json({"name": job, "released": done, "released_usd": usd(amount)} | _money(balance))
        return
    say(f"Released {format_usd(amount)} of {counted(done, 'call')} of job {job!r}.")
    say(f"{format_usd(balance.at_risk_nanousd)} stay at risk.")


def _show(job: str, found: list[WriteOff], balance: Balance, *, as_json: bool) -> None:
    if as_json:
        lost = [
            {
                "call": one.call,
                "custom_id": one.custom_id,
                "tier": one.tier,
                "worst_usd": usd(one.amount_nanousd),
                "reason": one.reason,
                "at": one.at.isoformat(),
            }
            for one in found
        ]
        print_json({"name": job, "calls": lost} | _money(balance))
        return
    if not found:
        say(f"No call of job {job!r} is written off.")
        return
    print_table(
        ["Call", "custom_id", "Tier", "Held", "Given up (UTC)", "Why"],
        [
            [
                str(one.call),
                one.custom_id,
                one.tier,
                format_usd(one.amount_nanousd),
                one.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
                one.reason,
            ]
            for one in found[:_SHOWN]
        ],
        right="r  r  ",
    )
    if len(found) > _SHOWN:
        say(f"and {len(found) - _SHOWN:,} more (--json shows all).")
    total = sum(one.amount_nanousd for one in found)
    calls = counted(len(found), "call")
    say(f"{format_usd(total)} for {calls} is held, as it may have been billed.")


def _money(balance: Balance) -> dict[str, object]:
    return {"at_risk_usd": usd(balance.at_risk_nanousd), "free_usd": usd(balance.free_nanousd)}


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)
