"""`cascade-batch status`: all jobs, or one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cascade_batch.cli.completion import complete_jobs
from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import make_console, print_drawing, print_json, print_table
from cascade_batch.client.expectation import next_money_text, quality_text
from cascade_batch.client.pace import format_duration, phase_text
from cascade_batch.client.progress import unfit_text
from cascade_batch.client.services import services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState
from cascade_batch.domain.money import format_usd

if TYPE_CHECKING:
    from cascade_batch.engine.outlook import Outlook

_REASONS = 3
_ERRORS_SHOWN = 6


@click.command(cls=Command)
@click.argument("job", required=False, shell_complete=complete_jobs)
@json_option
def status(job: str | None, as_json: bool) -> None:
    """Show all jobs, the newest first, or one: its rows by state, its tiers, its money.

    \b
    Examples:
      cascade-batch status
      cascade-batch status headlines
      cascade-batch status headlines --json | jq .tiers
    """
    from cascade_batch.engine.outlook import job_outlook
    from cascade_batch.engine.status import job_status, list_jobs

    with services() as service, service.engine.connect() as connection:
        if job is None:
            jobs = list_jobs(connection)
            if as_json:
                print_json(jobs)
            else:
                _print_jobs(jobs)
            return
        found = job_status(connection, job)
        if not as_json:
            _print_job(found, job_outlook(connection, job))
            return
    print_json(found)


def _print_jobs(jobs: list[dict[str, Any]]) -> None:
    if not jobs:
        say("There are no jobs yet. Submit one:  cascade-batch submit DATA --budget USD")
        return
    now = datetime.now(UTC)
    print_table(
        ["Job", "Status", "Done", "Answered", "Failed", "Rows", "Spent", "Budget", "Quality", "Age"],
        [
            [
                job["name"],
                job["status"],
                _share_text(job["rows"]),
                f"{job['rows']['answered']:,}",
                f"{job['rows']['failed']:,}",
                f"{job['rows']['total']:,}",
                format_usd(job["spent_nanousd"]),
                format_usd(job["budget_nanousd"]),
                quality_text(job["quality"]),
                format_duration(_seconds(job["created_at"], now)),
            ]
            for job in jobs
        ],
        right="  rrrrrrrr",
        spare=(9, 4, 3, 8, 5),
    )  # fmt: skip


def _share_text(rows: Mapping[str, int]) -> str:
    """Rounded down: what is not done is never called done."""
    done = rows["answered"] + rows["failed"]
    return f"{done * 100 // rows['total']} %" if rows["total"] else "-"


def _seconds(since: str, until: datetime) -> float:
    return max((until - datetime.fromisoformat(since)).total_seconds(), 0.0)


def lost_calls_text(name: str, lost: list[dict[str, Any]]) -> str:
    """Why money is at risk, the largest part first, and what to do about it."""
    told = [f"{one['calls']:,} on {one['tier']} ({one['reason']})" for one in lost[:_REASONS]]
    others = sum(one["calls"] for one in lost[_REASONS:])
    told += [f"{others:,} for other reasons"] if others else []
    return f"calls lost: {', '.join(told)}; see cascade-batch reconcile {shlex.quote(name)}"


def _print_job(job: dict[str, Any], outlook: Outlook) -> None:
    from cascade_batch.cli.picture import Page, draw

    console = make_console()
    picture = draw(
        job, outlook, Page.of(console), facts=_facts(job, outlook), notes=_notes(job, outlook)
    )
    print_drawing(picture, console)


def _facts(job: Mapping[str, Any], outlook: Outlook) -> list[str]:
    now = datetime.now(UTC)
    ended = job["finished_at"]
    began = job["started_at"] or job["created_at"]
    facts = []
    if ended is not None:
        facts.append(f"took {format_duration(_seconds(began, datetime.fromisoformat(ended)))}")
    else:
        facts.append(f"for {format_duration(_seconds(began, now))}")
    if phase := phase_text(job, outlook):
        facts.append(phase)
    if job["waves"]:
        facts.append(counted(job["waves"], "wave"))
    if job["policy"] not in (None, "auto"):
        facts.append(f"policy {job['policy']}")
    if job["saved_nanousd"]:
        facts.append(f"saved {format_usd(job['saved_nanousd'])}")
    if job["quality"] is not None:
        facts.append(f"quality {quality_text(job['quality'])}")
    return facts


def _notes(job: dict[str, Any], outlook: Outlook) -> list[tuple[str, str]]:
    from cascade_batch.cli.picture import next_notes, reason_notes, trouble_notes

    frontier, notes = job["frontier"], reason_notes(job)
    if job["status"] == JobState.PAUSED:
        notes.append(("Next", f"cascade-batch resume {shlex.quote(job['name'])}"))
    if job["status"] == "finished" and job["rows_unfit"]:
        see = f"see them:  cascade-batch results {shlex.quote(job['name'])}"
        notes.append(("Unfit", f"{unfit_text(job['rows_unfit'])}; {see}"))
    notes += next_notes(job, outlook)
    if job["at_risk_calls"]:
        notes.append(("Lost", lost_calls_text(job["name"], job["at_risk_calls"])))
    notes += [("Undelivered", text) for text in _undelivered(job["notifications"])]
    notes += trouble_notes(job, outlook, most=_ERRORS_SHOWN)
    if job["rows"]["failed"]:
        notes.append(("", f"See all:  cascade-batch errors {shlex.quote(job['name'])}"))
    if frontier is not None and job["status"] == "finished" and frontier["policy"] == "auto":
        notes.append(("More", next_money_text(frontier, job["name"], job["budget_nanousd"])))
    return notes


def _undelivered(outbox: list[dict[str, Any]]) -> list[str]:
    """Receivers that did not take what they should be told, and why."""
    return [
        f"{one['target']} did not take {counted(given_up + one['waiting'], 'message')}: {one['error']}"
        f"{'; given up' if given_up else '; tried again'}"
        for one in outbox
        if (given_up := one["given_up"]) or (one["waiting"] and one["error"])
    ]
