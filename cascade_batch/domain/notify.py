"""Who wants to hear of a job, and of what: targets of notifications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

STATES = ("finished", "failed", "paused", "cancelled")
DEFAULT_EVENTS = (*STATES, "50%", "80%", "100%")
FROM_ENVIRONMENT = "env:"
SECRET_VARIABLE = "CASCADE_NOTIFY_SECRET"  # noqa: S105 - a name
"""The variable that messages are signed with where a target names no other, if it is set."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PERCENT = re.compile(r"([1-9][0-9]?|100) ?%\Z")
_TOKEN = re.compile(r"(?=[^/]*[0-9])[A-Za-z0-9_-]{20,}")


class NotifyTarget(BaseModel):
    """An address that messages about a job are sent to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """`https://…`, or `env:NAME`: the environment variable NAME, where the sweeper runs, holds it.
    `http://` for this machine, and where the sweeper is told to allow it."""
    secret_env: str | None = None
    """Name of the variable that holds the secret to sign with; None: messages are not signed."""
    events: tuple[str, ...] = DEFAULT_EVENTS
    """States (`finished`, `failed`, `paused`, `cancelled`) and shares of the budget (`80%`)."""

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str) else given

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if (name := variable_of(url)) is not None:
            if not _VARIABLE.match(name):
                raise ValueError("env: must be followed by the name of an environment variable")
            return url
        check_url(url)
        return url

    @field_validator("secret_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.match(name):
            raise ValueError("must be the name of an environment variable, never the secret itself")
        return name

    @field_validator("events")
    @classmethod
    def _are_known(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for event in events:
            if event not in STATES and not _PERCENT.match(event):
                raise ValueError(
                    f"{event!r} is none of {', '.join(STATES)}, or a share of the budget, as in 80%"
                )
        if not events:
            raise ValueError("name at least one event")
        return tuple(dict.fromkeys(event.replace(" ", "") for event in events))

    @property
    def states(self) -> list[str]:
        """The states that are told of."""
        return [event for event in self.events if event in STATES]

    @property
    def percents(self) -> list[int]:
        """The shares of the budget that are told of, in percent."""
        return sorted(int(event[:-1]) for event in self.events if event.endswith("%"))

    @property
    def variables(self) -> list[str]:
        """Names of the environment variables that sending needs."""
        return [name for name in (variable_of(self.url), self.secret_env) if name is not None]

    @property
    def shown(self) -> str:
        """What may be shown of the address: no path, no query; tokens stand there."""
        return self.url if variable_of(self.url) is not None else masked(self.url)

    @property
    def may_hold_token(self) -> bool:
        """Whether the address looks as if it held a secret itself, as those of chat rooms do."""
        if variable_of(self.url) is not None:
            return False
        parts = urlsplit(self.url)
        return bool(parts.query or _TOKEN.search(parts.path))


def variable_of(url: str) -> str | None:
    """The variable that `env:NAME` names; None where an address is given itself."""
    return url[len(FROM_ENVIRONMENT) :] if url.startswith(FROM_ENVIRONMENT) else None


def check_url(url: str) -> None:
    """Make sure that messages can be sent there at all.

    Raises:
        ValueError: They can't; the message does not repeat the address, which may hold a secret.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - looked at for what it raises
    except ValueError:
        raise ValueError("is no address") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must begin with https:// (http:// on this machine), or be env:NAME")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a password; put the address into a variable and give env:NAME")
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("holds a blank or something that can't be printed")


def masked(url: str) -> str:
    """Scheme and host of an address, and that there is more."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/…" if parts.path.strip("/") or parts.query else url


def signing_variable(target: NotifyTarget, environment: Mapping[str, str]) -> NotifyTarget:
    """The target with the usual secret's variable, where it names none and that variable is set."""
    if target.secret_env is not None or not environment.get(SECRET_VARIABLE):
        return target
    return target.model_copy(update={"secret_env": SECRET_VARIABLE})
