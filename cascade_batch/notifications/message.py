"""A message, and what became of a try to send it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TIMEOUT_S = 20.0
"""How long a receiver may take to answer."""
Variables = Callable[[str], str | None]
"""What an environment variable holds; None where it is not set."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent.

    Attributes:
        webhook_id: The same for every try.
        url: An address, or `env:NAME`.
        secret_env: Variable that holds the secret to sign with; None: it is not signed.
        body: JSON.
    """

    webhook_id: str
    url: str
    secret_env: str | None
    body: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try.

    Attributes:
        error: Why it was not delivered; None: it was. Holds neither the address nor what was answered.
        is_gone: The receiver wants no more messages, ever.
        retry_after_s: How long it wants to be left alone; 0: it did not say.
    """

    error: str | None = None
    is_gone: bool = False
    retry_after_s: float = 0.0
