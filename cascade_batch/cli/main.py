"""The command `cascade-batch`: its commands, in the order in which people meet them."""

from __future__ import annotations

import click

from cascade_batch import __version__
from cascade_batch.cli.frame import DEBUG_VARIABLE, Lazy, LazyGroup, set_up_logging

_HERE = "cascade_batch.cli"

COMMANDS = {
    "estimate": Lazy(f"{_HERE}.estimate:estimate", "Say what a job would cost, spending nothing."),
    "tiers": Lazy(f"{_HERE}.tiers:tiers", "Try out the tiers of a tiers file."),
    "provider": Lazy(f"{_HERE}.provider:provider", "Serve a scripted provider to try jobs on."),
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


def main() -> None:
    """Entry point of the installed command."""
    cli(prog_name="cascade-batch")
