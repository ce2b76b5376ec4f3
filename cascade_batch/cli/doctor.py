"""`cascade-batch doctor`: is everything there that a job needs?"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from cascade_batch import __version__
from cascade_batch.cli.frame import EXIT_FAILED, Command
from cascade_batch.cli.options import json_option
from cascade_batch.cli.output import print_json, print_table
from cascade_batch.client.pace import format_duration
from cascade_batch.client.services import database, running_settings
from cascade_batch.errors import CascadeError, ServiceUnreachableError
from cascade_batch.settings import Settings, settings

if TYPE_CHECKING:
    import sqlalchemy as sa

SWEEPER_LATE_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `hint` says what to do where it is not well."""

    what: str
    ok: bool
    found: str
    hint: str | None = None
    unreachable: bool = False


@click.command(cls=Command)
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what a job needs: database, schema, broker, workers, sweeper; say how to mend it.

    Exits with 4 if a service can't be reached, with 1 if something else is not well.

    \b
    Example:
      cascade-batch doctor
    """
    findings = list(_examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ["", "What", "Found"],
            [["ok" if f.ok else "FAIL", f.what, f.found] for f in findings],
        )
        for finding in findings:
            if finding.hint and not finding.ok:
                click.echo(f"\n{finding.what}: {finding.hint}", err=True)
    if any(f.unreachable for f in findings):
        ctx.exit(ServiceUnreachableError.exit_code)
    ctx.exit(0 if all(f.ok for f in findings) else EXIT_FAILED)


def _examine() -> Iterator[Finding]:
    yield Finding("cascade-batch", True, f"{__version__} on Python {platform.python_version()}")
    try:
        given = settings()
        ready = running_settings()
    except CascadeError as error:
        yield _failure("services", error)
        return
    if given.is_embedded:
        yield Finding("services", True, f"embedded, in {given.home}")
    else:
        yield Finding("services", True, "CASCADE_DATABASE_URL and CASCADE_REDIS_URL")
    broker = _try("broker", lambda: _broker(ready))
    yield broker
    if broker.ok:
        yield _try("workers", lambda: _workers(ready))
    store = _try("database", lambda: _server_version(ready))
    yield store
    if store.ok:
        schema = _try("schema", lambda: _schema(ready))
        yield schema
        if schema.ok:
            yield _try("sweeper", lambda: _sweeper(ready))


def _try(what: str, examine: Callable[[], Finding]) -> Finding:
    try:
        return examine()
    except CascadeError as error:
        return _failure(what, error)


def _failure(what: str, error: CascadeError) -> Finding:
    unreachable = isinstance(error, ServiceUnreachableError)
    return Finding(what, False, error.message, error.hint, unreachable)


def _broker(ready: Settings) -> Finding:
    from cascade_batch.dispatch.app import broker_label, make_app
    from cascade_batch.dispatch.publisher import require_broker

    require_broker(make_app(ready.redis_url or ""))
    return Finding("broker", True, broker_label(ready.redis_url or ""))


def _server_version(ready: Settings) -> Finding:
    version = _scalar(ready, "SHOW server_version")
    return Finding("database", True, f"Postgres {version}")


def _schema(ready: Settings) -> Finding:
    from cascade_batch.store.migrate import require_current, schema_version

    with database(ready) as engine, engine.connect() as connection:
        require_current(connection)
        return Finding("schema", True, f"{schema_version(connection).current}, as needed")


def _sweeper(ready: Settings) -> Finding:
    age_s = _scalar(
        ready,
        "SELECT extract(epoch FROM clock_timestamp() - max(at))::float"
        " FROM cascade_store.heartbeat WHERE part = 'sweeper'",
    )
    hint = "Start one: cascade-batch sweeper"
    if age_s is None:
        return Finding("sweeper", settings().is_embedded, "has not run yet", hint)
    ago = f"last round {format_duration(float(str(age_s)))} ago"
    is_fine = float(str(age_s)) < SWEEPER_LATE_S or settings().is_embedded
    return Finding("sweeper", is_fine, ago, hint)


def _workers(ready: Settings) -> Finding:
    from cascade_batch.dispatch.presence import find_workers

    names = find_workers(ready.redis_url or "")
    if names:
        pids = _pids() if settings().is_embedded else {}
        return Finding("workers", True, ", ".join(_with_process(name, pids) for name in names))
    if settings().is_embedded:
        return Finding("workers", True, "none; they start when a job needs them")
    return Finding("workers", False, "none answers", "Start some: cascade-batch worker --tiers …")


def _scalar(ready: Settings, query: str) -> object:
    import sqlalchemy as sa

    engine: sa.Engine
    with database(ready) as engine, engine.connect() as connection:
        return connection.execute(sa.text(query)).scalar()


def _pids() -> dict[str, int]:
    """Main processes of the embedded stack's workers, by what they serve."""
    from cascade_batch.local.home import Home

    state = Home.at(settings().home).read_state()
    workers = state.workers if state is not None else ()
    return {key.removeprefix("tier."): ref.pid for key, ref in workers}


def _with_process(worker: str, pids: Mapping[str, int]) -> str:
    pid = pids.get(worker.rpartition("@")[0])
    return worker if pid is None else f"{worker} (process {pid})"
