"""The services that a face works with: the user's own, or the embedded stack, which it starts."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cascade_batch.errors import UsageError
from cascade_batch.settings import Settings, settings
from cascade_batch.words import choose

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cascade_batch.domain.notify import NotifyTarget
    from cascade_batch.domain.tier import Tier
    from cascade_batch.engine.ports import Publisher


class Services:
    """Database and broker as a command or a call sees them; made by `services`.

    Attributes:
        settings: With both URLs set, whether they are the user's or the embedded stack's.
        engine: Of the database.
    """

    def __init__(self, ready: Settings, engine: sa.Engine) -> None:
        self.settings = ready
        self.engine = engine

    def publisher(self) -> Publisher:
        """What wakes workers. A broker that is away costs time, never a job."""
        from cascade_batch.dispatch.app import make_app
        from cascade_batch.dispatch.publisher import CeleryPublisher

        return CeleryPublisher(make_app(self.settings.redis_url or ""))

    def require_broker(self) -> None:
        """Make sure that workers can be woken; the embedded stack sees to that itself.

        Raises:
            ServiceUnreachableError: The user's own broker can't be reached.
        """
        if settings().is_embedded:
            return
        from cascade_batch.dispatch.app import make_app
        from cascade_batch.dispatch.publisher import require_broker

        require_broker(make_app(self.settings.redis_url or ""))

    def wake(self, job: str) -> None:
        """Have the embedded stack work on a job's tiers, with the keys of this environment.

        Raises:
            JobNotFoundError: There is no such job.
            UsageError: A tier's key is not in the environment.
        """
        if not settings().is_embedded:
            return
        from cascade_batch.engine.jobs import find_job
        from cascade_batch.notifications.outbox import read_variables

        with self.engine.connect() as connection:
            found = find_job(connection, job)
            names = read_variables(connection, found.job_id)
        # What is missing here may have been handed over by whoever submitted the job.
        secrets = {name: os.environ[name] for name in names if os.environ.get(name)}
        running_settings(found.spec.tiers, secrets)


@contextmanager
def services(tiers: Sequence[Tier] = (), notify: Sequence[NotifyTarget] = ()) -> Iterator[Services]:
    """Connect; starts the embedded stack where no services are named.

    Args:
        tiers: Tiers that are going to have work, so that the embedded stack starts their workers.
        notify: Who is going to be told, so that the embedded stack has their addresses and secrets.

    Raises:
        ServiceUnreachableError: The database can't be reached, now or while it is used.
        UsageError: The database has another version's schema, or a variable that holds a tier's key, an
            address or a secret is not there.
    """
    ready = running_settings(tiers, secrets=_secrets(notify))
    with database(ready) as engine:
        yield Services(ready, engine)


def running_settings(
    tiers: Sequence[Tier] = (), secrets: Mapping[str, str] | None = None
) -> Settings:
    """Settings with both URLs set; the embedded stack runs when this returns, if it serves.

    Args:
        secrets: Variables that the embedded sweeper needs to tell of jobs.

    Raises:
        ServiceUnreachableError: The embedded stack can't be started.
        UsageError: A key that the embedded workers of these tiers need is not in the environment.
    """
    given = settings()
    if not given.is_embedded:
        return given
    keys = _keys(tiers)
    from cascade_batch.local.stack import ensure_stack

    urls = ensure_stack(given, tiers=[tier.name for tier in tiers], env=keys, secrets=secrets)
    return replace(given, database_url=urls.database_url, redis_url=urls.redis_url)


def own_settings() -> Settings:
    """Settings with both URLs set by the user.

    Raises:
        UsageError: They are not: the embedded stack runs its own workers.
    """
    given = settings()
    if given.is_embedded:
        raise UsageError(
            "CASCADE_DATABASE_URL and CASCADE_REDIS_URL are not set.",
            hint="Set both. The embedded stack needs no such command: it runs all of its parts by"
            " itself.",
        )
    return given


def _keys(tiers: Sequence[Tier]) -> dict[str, str]:
    keys = {}
    for tier in tiers:
        name = tier.api_key_env
        if name is None:
            continue
        if not os.environ.get(name):
            raise UsageError(
                f"Tier {tier.name!r} needs a key in the environment variable {name},"
                " which is not set.",
                hint=_set_it(name),
            )
        keys[name] = os.environ[name]
    return keys


def _set_it(name: str) -> str:
    return choose(
        command_line=f"Set it, for example: export {name}=…",
        python=f"Set it, for example: os.environ[{name!r}] = …",
    )


def _secrets(notify: Sequence[NotifyTarget]) -> dict[str, str]:
    """What the sweeper needs to tell of a job.

    Raises:
        UsageError: A variable is not set, or holds what can't be used.
    """
    from cascade_batch.notifications.signing import read_secrets

    secrets = {}
    for name in (name for target in notify for name in target.variables):
        if os.environ.get(name):
            secrets[name] = os.environ[name]
        elif settings().is_embedded:
            raise UsageError(
                f"The environment variable {name}, which messages about the job need, is not set.",
                hint=_set_it(name),
            )
    for target in notify:
        if target.secret_env in secrets:
            read_secrets(secrets[target.secret_env], target.secret_env)
    return secrets


@contextmanager
def database(ready: Settings) -> Iterator[sa.Engine]:
    """An engine for the block; what goes wrong with connection or schema is said in words.

    Raises:
        ServiceUnreachableError: The database can't be reached, now or while it is used.
        UsageError: The database has another version's schema.
    """
    import psycopg
    from sqlalchemy.exc import ProgrammingError

    from cascade_batch.store.engine import make_engine, reachable

    url = ready.database_url or ""
    engine = make_engine(url)
    try:
        with reachable(url):
            yield engine
    except ProgrammingError as error:
        wrong_schema = (
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedColumn,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.InvalidSchemaName,
        )
        if isinstance(error.orig, wrong_schema):
            from cascade_batch.store.migrate import require_current

            with reachable(url), engine.connect() as connection:
                require_current(connection)
        raise
    finally:
        engine.dispose()


def account_name() -> str | None:
    """Who runs this process, for the ledger; None for an account without a name, as in many containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
