"""`cascade-batch status`: all jobs, or one."""

from __future__ import annotations

import shlex
from typing import Any

import click

from cascade_batch.cli.frame import Command
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import latency_text, print_json, print_table
from cascade_batch.client.expectation import next_money_text, quality_text
from cascade_batch.client.services import services
from cascade_batch.domain.money import format_usd, usd_to_nanousd

_REASONS = 3


@click.command(cls=Command)
@click.argument("job", required=False)
@json_option
def status(job: str | None, as_json: bool) -> None:
    """Show all jobs, or one: its rows by state, its tiers, its money."""
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
    if as_json:
        print_json(found)
    else:
        _print_job(found)


def _print_jobs(jobs: list[dict[str, Any]]) -> None:
    print_table(
        ["Job", "Status", "Answered", "Failed", "Rows", "Spent", "Budget", "Quality"],
        [
            [
                job["name"],
                job["status"],
                f"{job['rows']['answered']:,}",
                f"{job['rows']['failed']:,}",
                f"{job['rows']['total']:,}",
                format_usd(job["spent_nanousd"]),
                format_usd(job["budget_nanousd"]),
                quality_text(job["quality"]),
            ]
            for job in jobs
        ],
        right="  rrrrrr",
    )


def lost_calls_text(name: str, lost: list[dict[str, Any]]) -> str:
    """Why money is at risk, the largest part first, and what to do about it."""
    told = [f"{one['calls']:,} on {one['tier']} ({one['reason']})" for one in lost[:_REASONS]]
    others = sum(one["calls"] for one in lost[_REASONS:])
    told += [f"{others:,} for other reasons"] if others else []
    return f"calls lost: {', '.join(told)}; see cascade-batch reconcile {shlex.quote(name)}"


def _print_job(job: dict[str, Any]) -> None:
    rows = job["rows"]
    reason = f" ({job['reason']})" if job["reason"] else ""
    counted = ", ".join(f"{rows[k]:,} {k}" for k in ("answered", "failed", "pending"))
    money = [f"{format_usd(job['spent_nanousd'])} of {format_usd(job['budget_nanousd'])} spent"]
    for what, words in (
        ("reserved", "reserved for calls in flight"),
        ("at_risk", "at risk (may have been billed)"),
        ("overrun", "billed beyond the declared worst case"),
    ):
        if job[f"{what}_nanousd"]:
            money.append(f"{format_usd(job[f'{what}_nanousd'])} {words}")
    frontier, more = job["frontier"], []
    if job["standstill"] is not None:
        still = job["standstill"]
        more.append([f"Still for {still['idle_s']:.0f} s", "; ".join(still["reasons"])])
    if job["at_risk_calls"]:
        more.append(["At risk", lost_calls_text(job["name"], job["at_risk_calls"])])
    if frontier is not None and job["status"] == "finished" and frontier["policy"] == "auto":
        more += [["More money", next_money_text(frontier, job["name"], job["budget_nanousd"])]]
    print_table(
        ["Job", job["name"]],
        [
            ["Status", job["status"] + reason],
            ["Rows", f"{rows['total']:,}: {counted}"],
            ["Money", ", ".join(money)],
            ["Quality", quality_text(job["quality"])],
            *more,
        ],
    )
    click.echo()
    print_table(
        ["Tier", "Model", "Calls", "Answers", "Escalated to", "Spent", "p50", "p95", "Stopped"],
        [
            [
                name,
                tier["model"],
                f"{tier['calls']:,}",
                f"{tier['answers']:,}",
                f"{tier['escalated']:,}",
                format_usd(usd_to_nanousd(tier["spent_usd"])),
                latency_text(tier["latency_ms_p50"]),
                latency_text(tier["latency_ms_p95"]),
                tier["stopped"] or "",
            ]
            for name, tier in job["tiers"].items()
        ],
        right="  rrrrrr ",
    )
