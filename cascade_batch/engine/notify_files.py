"""`notify:` of a job file, `--notify` and `notify=`: who is told of a job."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cascade_batch.domain.notify import NotifyTarget, signing_variable, variable_of
from cascade_batch.engine.yaml_models import refuse_secrets, validate
from cascade_batch.engine.yaml_source import Source
from cascade_batch.errors import UsageError
from cascade_batch.settings import settings
from cascade_batch.words import choose, place


def _example() -> str:
    return choose(
        command_line="notify: https://example.com/hook, or notify: [{url: 'env:HOOK_URL', events: [80%]}]",
        python='notify="https://example.com/hook", or notify=[{"url": "env:HOOK_URL", "events": ["80%"]}]',
    )


class NotifyOption:
    """Targets that were given on the command line, or by a program."""

    def where(self, path: Sequence[str | int] = (), *, key: bool = False) -> str:  # noqa: ARG002  # as of `Source`
        """What holds them."""
        return place("notify")


def make_targets(source: Source, given: Any) -> tuple[NotifyTarget, ...]:
    """Check who is to be told of a job.

    Args:
        source: Where it was read from.
        given: An address, a mapping with the keys of a target, or a list of such.

    Raises:
        UsageError: One of them does not fit; says which and what is allowed, and repeats no address.
    """
    if given is None:
        return ()
    items = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(items, Sequence):
        raise UsageError(
            f"{source.where(('notify',))}: notify holds no addresses.", hint=_example()
        )
    targets = []
    for no, item in enumerate(items):
        path = ("notify", no) if items is given else ("notify",)
        refuse_secrets(source, item, path)
        value = {"url": item} if isinstance(item, str) else item
        target = validate(NotifyTarget, value, source, path)
        _require_reachable(source, path, target)
        targets.append(signing_variable(target, os.environ))
    return tuple(targets)


def notify_warnings(targets: Sequence[NotifyTarget]) -> list[str]:
    """Warnings about addresses that look as if they were secrets."""
    return [
        f"The address {target.shown} seems to hold a token, and is stored in the database as it is. Put it"
        " into an environment variable, and give env:NAME instead."
        for target in targets
        if target.may_hold_token
    ]


def _require_reachable(source: Source, path: Sequence[str | int], target: NotifyTarget) -> None:
    """What will never be sent is said at once; the name of a host is resolved when it is sent to."""
    if variable_of(target.url) is not None:
        return
    from cascade_batch.notifications.addresses import AllowedHosts, ForbiddenAddressError

    try:
        AllowedHosts(settings().notify_allow).check(target.url)
    except ForbiddenAddressError as error:
        raise UsageError(f"{source.where(path)}: {target.shown}: {error}.") from None
