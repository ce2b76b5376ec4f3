"""Settings from the environment. Nothing set means the embedded stack in `CASCADE_HOME`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from cascade_batch.errors import UsageError

LOG_FORMATS = ("json", "plain", "pretty")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the services are and how patient the engine is.

    Attributes:
        database_url: Postgres URL; None: the embedded server.
        redis_url: Redis or Valkey URL of the broker; None: the embedded server.
        home: Folder of the embedded stack.
        lease_s: How long a chunk stays a worker's without a sign of life.
        idle_stop_s: After how long without work the embedded stack stops by itself.
        local_workers: Worker processes per tier that the embedded stack starts.
        broker_away_s: After how long without an answer from the broker a worker ends, to be started again.
        consumer_silent_s: The same for a worker that does not find back to a broker that answers.
        metrics_port: Where workers and the sweeper answer Prometheus; None: nowhere, and nothing is counted.
        metrics_host: The address they do it at.
        cache_days: How old an answer of an earlier job may be to be taken over.
        notify_allow: Hosts that messages about jobs may go to without encryption, or inside the own network.
        log_format: How their logs are written: `json`, `plain`, or `pretty` (in colours).
    """

    database_url: str | None
    redis_url: str | None
    home: Path
    lease_s: float = 30.0
    cache_days: float = 30.0
    idle_stop_s: float = 600.0
    local_workers: int = 1
    broker_away_s: float = 300.0
    consumer_silent_s: float = 90.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    log_format: str = "plain"
    notify_allow: tuple[str, ...] = ()

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded stack serves both the database and the broker."""
        return self.database_url is None and self.redis_url is None


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        UsageError: Only one of the two URLs is set, a number is no number, or a format is none.
    """
    database_url = os.environ.get("CASCADE_DATABASE_URL") or None
    redis_url = os.environ.get("CASCADE_REDIS_URL") or None
    if (database_url is None) != (redis_url is None):
        missing = "CASCADE_REDIS_URL" if redis_url is None else "CASCADE_DATABASE_URL"
        raise UsageError(
            f"Only one of CASCADE_DATABASE_URL and CASCADE_REDIS_URL is set; {missing} is missing.",
            hint="Set both for services of your own, or neither for the embedded stack.",
        )
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        home=default_home(),
        lease_s=_positive("CASCADE_LEASE_S", 30.0),
        cache_days=_positive("CASCADE_CACHE_DAYS", 30.0),
        idle_stop_s=_positive("CASCADE_IDLE_STOP_S", 600.0),
        local_workers=int(_positive("CASCADE_LOCAL_WORKERS", 1)),
        broker_away_s=_positive("CASCADE_BROKER_AWAY_S", 300.0),
        consumer_silent_s=_positive("CASCADE_CONSUMER_SILENT_S", 90.0),
        metrics_port=_port("CASCADE_METRICS_PORT"),
        metrics_host=os.environ.get("CASCADE_METRICS_HOST") or "127.0.0.1",
        log_format=_log_format(),
        notify_allow=tuple(
            (os.environ.get("CASCADE_NOTIFY_ALLOW") or "").replace(",", " ").split()
        ),
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def default_home() -> Path:
    """`CASCADE_HOME`, else the platform's folder for a user's data."""
    given = os.environ.get("CASCADE_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("cascade-batch"))


def _port(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise UsageError(f"{name} is {text!r}, which is no port: a number from 1 to 65535.")
    return int(text)


def _log_format() -> str:
    chosen = os.environ.get("CASCADE_LOG_FORMAT")
    if not chosen:
        return "pretty" if sys.stderr.isatty() else "plain"
    if chosen not in LOG_FORMATS:
        raise UsageError(
            f"CASCADE_LOG_FORMAT is {chosen!r}, which is none of {', '.join(LOG_FORMATS)}."
        )
    return chosen


def _positive(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"{name} is {text!r}, which is not a positive number.")
    return value
