"""The command `cascade-batch`: its commands, in the order in which people meet them."""

from __future__ import annotations

import click

from cascade_batch import __version__
from cascade_batch.cli.frame import (
    DEBUG_VARIABLE,
    Lazy,
    LazyGroup,
    calculate_on_one_thread,
    leave,
    look_for_cycles_rarely,
    set_up_logging,
)

_HERE = "cascade_batch.cli"

_JOBS, _PLANNING, _MACHINERY = "Jobs", "Planning and money", "Machinery"

COMMANDS = {
    "submit": Lazy(
        f"{_HERE}.submit:submit", "Answer every row of a data set inside a budget.", _JOBS
    ),
    "status": Lazy(f"{_HERE}.status:status", "Show all jobs, or one: rows, tiers, money.", _JOBS),
    "watch": Lazy(f"{_HERE}.watch:watch", "Follow a job until it is over.", _JOBS),
    "results": Lazy(
        f"{_HERE}.results:results", "Print a job's results, or write them to a file.", _JOBS
    ),
    "errors": Lazy(
        f"{_HERE}.errors:errors", "Show what rows of a job failed by, and what to do.", _JOBS
    ),
    "retry": Lazy(f"{_HERE}.retry:retry", "Ask the rows that failed once more.", _JOBS),
    "report": Lazy(f"{_HERE}.report:report", "Write a job's report, one page of HTML.", _JOBS),
    "pause": Lazy(f"{_HERE}.pause:pause", "Send nothing more for a job, for now.", _JOBS),
    "resume": Lazy(f"{_HERE}.resume:resume", "Go on with what is not done of a job.", _JOBS),
    "cancel": Lazy(f"{_HERE}.cancel:cancel", "End a job; what is answered stays.", _JOBS),
    "delete": Lazy(f"{_HERE}.delete:delete", "Delete a job that is over, for good.", _JOBS),
    "estimate": Lazy(
        f"{_HERE}.estimate:estimate", "Say what a job would cost, spending nothing.", _PLANNING
    ),
    "frontier": Lazy(
        f"{_HERE}.frontier:frontier", "Show what other budgets would bring.", _PLANNING
    ),
    "budget": Lazy(f"{_HERE}.budget:budget", "Raise a job's budget and go on.", _PLANNING),
    "audit": Lazy(f"{_HERE}.audit:audit", "Add a job's ledger up again.", _PLANNING),
    "reconcile": Lazy(
        f"{_HERE}.reconcile:reconcile", "Release write-offs that were not billed.", _PLANNING
    ),
    "replay": Lazy(
        f"{_HERE}.replay:replay", "Try the planner on recorded outcomes, at no cost.", _PLANNING
    ),
    "doctor": Lazy(
        f"{_HERE}.doctor:doctor", "Check what a job needs, and say how to mend it.", _MACHINERY
    ),
    "notify-test": Lazy(
        f"{_HERE}.notify_test:notify_test", "Send a message to a receiver, to try it.", _MACHINERY
    ),
    "tiers": Lazy(f"{_HERE}.tiers:tiers", "Try out the tiers of a tiers file.", _MACHINERY),
    "sql": Lazy(f"{_HERE}.sql:sql", "Ask the database, in a session or by one query.", _MACHINERY),
    "flower": Lazy(
        f"{_HERE}.flower:flower", "Watch queues, workers and tasks in a browser.", _MACHINERY
    ),
    "up": Lazy(f"{_HERE}.up:up", "Start the embedded stack.", _MACHINERY),
    "down": Lazy(f"{_HERE}.down:down", "Stop the embedded stack.", _MACHINERY),
    "worker": Lazy(f"{_HERE}.worker:worker", "Work on the chunks of some tiers.", _MACHINERY),
    "sweeper": Lazy(
        f"{_HERE}.sweeper:sweeper", "Find what nobody works on, and wake workers.", _MACHINERY
    ),
    "db": Lazy(f"{_HERE}.db:db", "Look after the database's schema.", _MACHINERY),
    "provider": Lazy(
        f"{_HERE}.provider:provider", "Serve a scripted provider to try jobs on.", _MACHINERY
    ),
    "schema": Lazy(
        f"{_HERE}.schema:schema", "Print the schema of job or tiers files, for editors.", _MACHINERY
    ),
    "completion": Lazy(
        f"{_HERE}.completion:completion",
        "Have the Tab key complete commands, jobs and files.",
        _MACHINERY,
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={
        "auto_envvar_prefix": "CASCADE",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.option(
    "--debug",
    is_flag=True,
    envvar=DEBUG_VARIABLE,
    show_envvar=True,
    help="Show tracebacks and log everything.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli(debug: bool) -> None:
    """Run language models over data sets inside a hard budget.

    Every row is answered on a cheap tier; what is left of the budget goes to the rows where a dearer
    tier gains most per dollar. Nothing is sent before its worst case is reserved.

    Data goes to standard output, everything else to standard error.

    \b
    Start here:
      cascade-batch estimate data.jsonl --prompt @prompt.txt
      cascade-batch submit data.jsonl --prompt @prompt.txt --budget 5 --name first
      cascade-batch status first
      cascade-batch results first -o first.csv
    """
    set_up_logging(debug=debug)
    calculate_on_one_thread()


def main() -> None:
    """Entry point of the installed command."""
    look_for_cycles_rarely()
    try:
        cli(prog_name="cascade-batch")
    except SystemExit as end:
        leave(end.code)
        raise
