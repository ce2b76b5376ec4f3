"""Logs: one format for every logger of a process, ours and those of libraries, without secrets.

What is being worked on (`job`, `tier`, `chunk`) is bound to the context and stands in every line.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextvars import Context, copy_context

import orjson
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.types import EventDict, Processor, WrappedLogger

MASK = "***"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|AUTH|CREDENTIALS?|HEADERS)$", re.I)
_SHORTEST_SECRET = 8
"""What is shorter is a placeholder, and would be found in innocent words."""
_SHAPES = (
    # The password of a URL.
    (re.compile(r"(://[^\s:/@\"']*:)[^\s/@\"']+(?=@)"), rf"\1{MASK}"),
    # What keys look like, and what headers put them behind.
    (re.compile(r"(?:\b|(?<=\x1b\[1m))sk-[\w-]{8,}"), MASK),
    (re.compile(r"(?i)(bearer|basic)(\s+)[\w.~+/=-]{8,}"), rf"\1\2{MASK}"),
    (
        re.compile(r"(?i)(x-api-key|api[_-]?key|authorization)(\\?[\"']?\s*[:=]\s*\\?[\"']?)[\w.~+/=-]{8,}"),
        rf"\1\2{MASK}",
    ),
)  # fmt: skip


def set_up_logging(
    *, level: int | str = logging.INFO, own_level: int | None = None, log_format: str = "plain"
) -> None:
    """Send what all loggers say to standard error, in one format.

    Args:
        level: Least level of any logger.
        own_level: That of this package's, if it differs.
        log_format: `json`, `plain` or `pretty`.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    new = logging.StreamHandler(sys.stderr)
    new.setFormatter(formatter(log_format, secrets=_secrets_of_the_environment()))
    root.addHandler(new)
    root.setLevel(level)
    logging.captureWarnings(True)
    if own_level is not None:
        logging.getLogger("cascade_batch").setLevel(own_level)


def formatter(log_format: str, *, secrets: Iterable[str] = ()) -> logging.Formatter:
    """A formatter for any logger.

    Args:
        secrets: Values that must not be shown, beside those that look like secrets.
    """
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _only_ours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    render: list[Processor]
    if log_format == "json":
        render = [
            strip,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            _in_order,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=log_format == "pretty",
            # The default draws frames with the values of local variables, keys among them.
            exception_formatter=structlog.dev.plain_traceback,
            pad_event_to=0,
        )
        render = [strip, console]
    return _Masking(render, shared, secrets)


def bound(**what: object) -> AbstractContextManager[None]:
    """Name what is worked on in every line that is logged inside the block: `job`, `tier`, `chunk`."""
    return bound_contextvars(**what)


def context_with(**what: object) -> Context:
    """A context for tasks that work on this, each of which says so in what it logs."""
    context = copy_context()
    context.run(bind_contextvars, **what)
    return context


def take_on(context: Context) -> None:
    """Have the running task log from here on what tasks of this context do. Its own context must be shared
    with no other task."""
    for variable, value in context.items():
        variable.set(value)


class _Masking(structlog.stdlib.ProcessorFormatter):
    """Masks secrets in the finished line, wherever they came from: message, values, tracebacks."""

    def __init__(
        self, render: list[Processor], shared: list[Processor], secrets: Iterable[str]
    ) -> None:
        super().__init__(processors=render, foreign_pre_chain=shared)
        self._known = _forms(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return _masked(super().format(record), self._known)


def masked(text: str) -> str:
    """The text without the secrets of the environment, and without what looks like one."""
    return _masked(text, _forms(_secrets_of_the_environment()))


def _masked(text: str, known: Iterable[str]) -> str:
    for secret in known:
        text = text.replace(secret, MASK)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _forms(secrets: Iterable[str]) -> list[str]:
    # Longest first: a secret may begin with another one.
    known = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
    return [form for secret in known for form in {secret, _escaped(secret)}]


def _only_ours(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Celery hangs a task's whole message on its records; its own words say enough."""
    event.pop("data", None)
    return event


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first = {name: event.pop(name) for name in ("timestamp", "level", "message", "logger")}
    return {**first, **event}


def _json(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _escaped(secret: str) -> str:
    return orjson.dumps(secret).decode()[1:-1]


def _secrets_of_the_environment() -> list[str]:
    return [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
