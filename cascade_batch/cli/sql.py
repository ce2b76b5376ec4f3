"""`cascade-batch sql`: ask the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cascade_batch.cli.completion import complete_jobs
from cascade_batch.cli.frame import Command, say
from cascade_batch.cli.options import json_option
from cascade_batch.client.services import services
from cascade_batch.errors import JobNotFoundError, UsageError
from cascade_batch.settings import settings

if TYPE_CHECKING:
    import psycopg

    from cascade_batch.cli.sql_session import Access
    from cascade_batch.client.services import Services

_HINT = (
    "For example: cascade-batch sql -c 'SELECT * FROM cascade.jobs'. At a terminal, `cascade-batch sql`"
    " opens a session."
)


@click.command(cls=Command)
@click.argument("target", required=False, metavar="[JOB|QUERY]", shell_complete=complete_jobs)
@click.option(
    "-c", "--command", "query", metavar="QUERY", help="Run one query (`-`: from standard input)."
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, as in a pipe.")
@click.option("--table", "as_table", is_flag=True, help="Print a table, as on a terminal.")
@click.option("--url", is_flag=True, help="Print a URL for other programs, password included.")
@click.option(
    "--owner", is_flag=True, help="Read as the database's owner: all tables. For backups, say."
)
@click.option("--no-psql", is_flag=True, help="Use the prompt of our own in place of psql.")
def sql(
    target: str | None,
    query: str | None,
    as_json: bool,
    as_csv: bool,
    as_table: bool,
    url: bool,
    owner: bool,
    no_psql: bool,
) -> None:
    """Ask the database: a session, or one query. Nothing can be changed here.

    Public are the views of the schema `cascade` (jobs, rows, answers, calls_by_tier, ledger, results and
    others) and, for every job, the view results."JOB": its input, answers, tiers, costs. A session is psql's,
    where there is one.

    \b
    Examples:
      cascade-batch sql headlines
      cascade-batch sql -c 'SELECT value, count(*) FROM headlines GROUP BY 1'
      cascade-batch sql -c 'SELECT * FROM headlines' > headlines.csv
      cascade-batch sql --url
    """
    from cascade_batch.cli.sql_session import connect, reading_access

    if target == "-":
        query, target = target, None
    if query == "-" or not (query or target or url or sys.stdin.isatty()):
        query = _piped()
    with services() as service:
        if target is not None and not _is_job(service, target, is_only=query is not None):
            query, target = target, None
        database_url = service.settings.database_url or ""
        access = reading_access(database_url, is_embedded=settings().is_embedded, owner=owner)
        if url:
            click.echo(access.url)
            if not (owner or settings().is_embedded):
                say(
                    "This is CASCADE_DATABASE_URL itself. For somebody who only reads:"
                    "  GRANT cascade_reader TO …"
                )
            return
        if query is None and sys.stdin.isatty():
            _open_session(access, target, has_psql=not no_psql)
            return
        from cascade_batch.cli.sql_output import print_result

        query = _piped() if query is None else query
        _require_sql(query)
        how = "json" if as_json else "csv" if as_csv else "table" if as_table else None
        with connect(access) as connection:
            print_result(connection, query, how)


def _piped() -> str:
    query = sys.stdin.read()
    if not query.strip():
        raise UsageError("No query is given.", hint=_HINT)
    return query


def _require_sql(query: str) -> None:
    """Refuse what only a session's program knows.

    Raises:
        UsageError: It begins with a backslash.
    """
    from cascade_batch.cli.sql_output import VIEWS

    if query.lstrip().startswith("\\"):
        command = query.split(maxsplit=1)[0]
        raise UsageError(
            f"{command} is a command of psql, and no SQL: it takes a session at a terminal.",
            hint="Open one by `cascade-batch sql`, or ask in SQL. The views are listed by:"
            f'  cascade-batch sql -c "{VIEWS}"',
        )


def _open_session(access: Access, job: str | None, *, has_psql: bool) -> None:
    from cascade_batch.cli import sql_session

    program = sql_session.find_psql() if has_psql else None
    with sql_session.connect(access) as connection:
        _introduce(connection, job)
        if program is None:
            from cascade_batch.cli.sql_prompt import run_prompt

            run_prompt(connection)
            return
    code = sql_session.run_psql(program, access)
    if code:
        raise SystemExit(code)


def _introduce(connection: psycopg.Connection[tuple[object, ...]], job: str | None) -> None:
    from cascade_batch.cli.sql_session import columns_of, quoted

    if job is None:
        say("Views: cascade.jobs, …, and one for each job in the schema results. \\d lists them.")
        return
    columns = columns_of(connection, job)
    say(f"results.{quoted(job)}: " + ", ".join(f"{quoted(name)} {kind}" for name, kind in columns))
    say(f"For example: SELECT * FROM {quoted(job)} LIMIT 5;")  # noqa: S608


def _is_job(service: Services, target: str, *, is_only: bool) -> bool:
    """Whether a job is meant, and not a query, which has more than one word.

    Args:
        is_only: Nothing but a job can be meant.

    Raises:
        JobNotFoundError: There is no job of that name, and it is no query.
    """
    from cascade_batch.engine.jobs import find_job

    try:
        with service.engine.connect() as connection:
            find_job(connection, target)
    except JobNotFoundError:
        if len(target.split()) > 1 and not is_only:
            return False
        raise
    return True
