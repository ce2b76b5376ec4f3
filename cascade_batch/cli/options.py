"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cascade_batch.cli.completion import complete_jobs
from cascade_batch.cli.given import OneOf, check_file, require_file
from cascade_batch.near_names import file_beside

F = TypeVar("F", bound=Callable[..., Any])

job_argument = click.argument("job", metavar="JOB", shell_complete=complete_jobs)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

_FILE = click.Path(path_type=Path)


def _check_data(_ctx: click.Context, _parameter: click.Parameter, data: str | None) -> str | None:
    # Where nothing is near, the reader of data sets says what is wrong with the name.
    if data not in (None, "-") and file_beside(Path(data)):
        require_file(Path(data))
    return data


def job_options(function: F) -> F:
    """Options that say what a job is; each stands for the key of a job file and wins over it."""
    decorators = [
        click.argument(
            "data", required=False, type=click.Path(allow_dash=True), callback=_check_data
        ),
        click.option(
            "--job",
            "job_file",
            type=_FILE,
            callback=check_file,
            metavar="FILE",
            help="Read a job file.",
        ),
        click.option("--budget", metavar="USD", help="Never spend more than these dollars."),
        click.option(
            "--tiers",
            "tiers_file",
            type=_FILE,
            callback=check_file,
            metavar="FILE",
            help="Read the tiers from a file.",
        ),
        click.option("--system", metavar="TEXT", help="Put a system message before each prompt."),
        click.option(
            "--prompt",
            callback=check_file,
            metavar="TEXT|@FILE",
            help="Make each row's prompt with this template; {{ column }} stands for a column.",
        ),
        click.option(
            "--output",
            callback=check_file,
            metavar="YAML|@FILE",
            help="Declare what answers look like, for example '{choices: [up, down]}'.",
        ),
        click.option("--gold", metavar="COLUMN", help="Find right answers in this column."),
        click.option(
            "--gold-use",
            type=OneOf(["stop", "train"]),
            help="Stop a row at an answer that equals its gold, if all rows have one, or only learn from it.",
        ),
        click.option(
            "--strata",
            metavar="COLUMN",
            help="Group rows by this column, to learn what suits each group.",
        ),
        click.option(
            "--check",
            metavar="NAME",
            help="Check answers: exact, normalised, choice, numeric, json, contains, regex:PATTERN,"
            " python:module.function or judge:TIER.",
        ),
        click.option(
            "--allow-python-checks",
            is_flag=True,
            default=None,
            help="Let the Python code run that the job file names, in its check or its tiers.",
        ),
        click.option("--name", metavar="NAME", help="Call the job this."),
        click.option(
            "--policy",
            type=OneOf(["auto", "cheapest", "dearest", "random", "confidence", "every"]),
            help="Choose what to escalate by this policy (auto, if none is given).",
        ),
        click.option("--seed", type=click.IntRange(0), help="Repeat random choices with a number."),
        click.option(
            "--chunk-rows",
            type=click.IntRange(1, 10_000),
            help="Put so many rows into a chunk (200, if not given).",
        ),
        click.option("--limit", type=click.IntRange(1), help="Take only so many rows."),
        click.option(
            "--skip-bad",
            is_flag=True,
            default=None,
            help="Leave out records that can't be used, and say which.",
        ),
        click.option(
            "--cache/--no-cache",
            default=None,
            help="Take over answers to the very same requests, of this job or earlier ones (the default), or"
            " ask every row.",
        ),
        click.option(
            "--start-early",
            is_flag=True,
            default=None,
            help="Begin to draft while DATA is still being read; a mistake further down is then found after"
            " money was spent.",
        ),
        click.option(
            "--notify",
            multiple=True,
            callback=lambda _ctx, _parameter, given: given or None,
            metavar="URL|env:NAME",
            help="Post to this address when the job is over or paused, and when 50, 80 and 100 % of its"
            " budget are used; env:NAME takes the address from a variable.",
        ),
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function
