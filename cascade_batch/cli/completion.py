"""`cascade-batch completion`: what the Tab key completes, and the line that turns it on."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from cascade_batch.cli.frame import Command
from cascade_batch.errors import CascadeError, UsageError

PROGRAM = "cascade-batch"
_VARIABLE = "_CASCADE_BATCH_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")
_MOST = 200
_PATIENCE_S = 2
_NAMES = """
SELECT name FROM cascade_store.job WHERE starts_with(name, %s) ORDER BY job_id DESC LIMIT %s
"""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print a script for your shell, with which Tab completes commands, options, jobs and files.

    SHELL is the one that the variable SHELL names, if none is given. Jobs are looked up in the database;
    nothing is started for that.

    \b
    Turn it on:
      bash   echo 'eval "$(cascade-batch completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(cascade-batch completion zsh)"' >> ~/.zshrc
      fish   cascade-batch completion fish > ~/.config/fish/completions/cascade-batch.fish
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(shell) if shell in _SHELLS else None
    if made is None:
        raise UsageError(
            "The shell is not known.",
            hint=f"Name one of {', '.join(_SHELLS)}, for example: {PROGRAM} completion bash",
        )
    click.echo(made(ctx.find_root().command, {}, PROGRAM, _VARIABLE).source())


def complete_jobs(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of jobs that begin like this, the newest first; none where the database is not there at once."""
    names = _job_names(incomplete)
    if os.environ.get(_VARIABLE, "").startswith("bash"):
        # bash writes what it is given as it is; other shells quote by themselves.
        names = [shlex.quote(name) for name in names]
    return [CompletionItem(name) for name in names]


def _job_names(beginning: str) -> list[str]:
    url = _database_url()
    if url is None:
        return []
    import psycopg

    try:
        with psycopg.connect(
            # The scheme may name a driver, which is of no interest to libpq.
            "postgresql://" + url.partition("://")[2],
            connect_timeout=_PATIENCE_S,
            options=f"-c statement_timeout={_PATIENCE_S}s",
        ) as connection:
            return [row[0] for row in connection.execute(_NAMES, (beginning, _MOST))]
    except (psycopg.Error, UnicodeError):
        return []


def _database_url() -> str | None:
    """The database's URL if it is known to be there; starts nothing."""
    from cascade_batch.settings import settings

    try:
        given = settings()
        if not given.is_embedded:
            return given.database_url
        if not given.home.is_dir():
            return None
        from cascade_batch.local.home import Home

        state = Home.at(given.home).read_state()
    except (CascadeError, OSError):
        return None
    return None if state is None else state.database_url
