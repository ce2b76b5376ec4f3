"""The command `cascade-batch`: its commands, in the order in which people meet them."""

from __future__ import annotations

import click

from cascade_batch import __version__
from cascade_batch.cli.frame import (
    DEBUG_VARIABLE,
    Lazy,
    LazyGroup,
    calculate_on_one_thread,
    set_up_logging,
)

_HERE = "cascade_batch.cli"

COMMANDS = {
    "submit": Lazy(f"{_HERE}.submit:submit", "Answer every row of a data set inside a budget."),
    "estimate": Lazy(f"{_HERE}.estimate:estimate", "Say what a job would cost, spending nothing."),
    "status": Lazy(f"{_HERE}.status:status", "Show all jobs, or one: rows, tiers, money."),
    "watch": Lazy(f"{_HERE}.watch:watch", "Follow a job until it is over."),
    "results": Lazy(f"{_HERE}.results:results", "Print a job's results, or write them to a file."),
    "errors": Lazy(f"{_HERE}.errors:errors", "Show the rows of a job that failed, and why."),
    "frontier": Lazy(f"{_HERE}.frontier:frontier", "Show what other budgets would bring."),
    "report": Lazy(f"{_HERE}.report:report", "Write a job's report, one page of HTML."),
    "budget": Lazy(f"{_HERE}.budget:budget", "Raise a job's budget and go on."),
    "pause": Lazy(f"{_HERE}.pause:pause", "Send nothing more for a job, for now."),
    "resume": Lazy(f"{_HERE}.resume:resume", "Go on with what is not done of a job."),
    "cancel": Lazy(f"{_HERE}.cancel:cancel", "End a job; what is answered stays."),
    "delete": Lazy(f"{_HERE}.delete:delete", "Delete a job that is over, for good."),
    "audit": Lazy(f"{_HERE}.audit:audit", "Add a job's ledger up again."),
    "reconcile": Lazy(f"{_HERE}.reconcile:reconcile", "Release write-offs that were not billed."),
    "replay": Lazy(f"{_HERE}.replay:replay", "Try the planner on recorded outcomes, at no cost."),
    "tiers": Lazy(f"{_HERE}.tiers:tiers", "Try out the tiers of a tiers file."),
    "provider": Lazy(f"{_HERE}.provider:provider", "Serve a scripted provider to try jobs on."),
    "worker": Lazy(f"{_HERE}.worker:worker", "Work on the chunks of some tiers."),
    "sweeper": Lazy(f"{_HERE}.sweeper:sweeper", "Find what nobody works on, and wake workers."),
    "up": Lazy(f"{_HERE}.up:up", "Start the embedded stack."),
    "down": Lazy(f"{_HERE}.down:down", "Stop the embedded stack."),
    "doctor": Lazy(f"{_HERE}.doctor:doctor", "Check what a job needs, and say how to mend it."),
    "flower": Lazy(f"{_HERE}.flower:flower", "Watch queues, workers and tasks in a browser."),
    "sql": Lazy(f"{_HERE}.sql:sql", "Run a query that only reads."),
    "db": Lazy(f"{_HERE}.db:db", "Look after the database's schema."),
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
    """
    set_up_logging(debug=debug)
    calculate_on_one_thread()


def main() -> None:
    """Entry point of the installed command."""
    cli(prog_name="cascade-batch")
